"""The recipes' programs run as they stand, and their manifests and command lines are what they say."""

from __future__ import annotations

import re
import shlex
import uuid
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from leasekit.cli.main import leasekit as cli
from leasekit.integrations.asgi import BackgroundLeadership
from support.binaries import REPOSITORY

DOCS = REPOSITORY / "docs"
RECIPES = sorted((DOCS / "recipes").glob("*.md"))
pytest_plugins = ["pytester"]


def blocks(page: Path, language: str) -> list[str]:
    """The page's blocks in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def recipe(name: str) -> Path:
    return DOCS / "recipes" / f"{name}.md"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASEKIT_STORE", f"memory://recipes-{uuid.uuid4().hex}")


def run(program: str) -> dict[str, Any]:
    """The names that a program leaves behind."""
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(program, "recipe.py", "exec", dont_inherit=True), names)  # noqa: S102 - the page is the program
    return names


def test_every_recipe_is_linked_was_run_and_fits_a_screen() -> None:
    overview = (DOCS / "integrations.md").read_text()
    assert [page.name for page in RECIPES if f"recipes/{page.name}" not in overview] == []
    ran = {page.name for page in RECIPES if "## Run once, for real" in page.read_text()}
    assert {page.name for page in RECIPES} - ran == {"pytest.md"}, "a test below runs that one"
    assert [page.name for page in RECIPES if len(page.read_text().splitlines()) > 80] == []


async def test_the_fastapi_application_leads_while_it_lives(store: None) -> None:
    import asyncio

    import httpx

    [program] = blocks(recipe("fastapi"), "python")
    names = run(program)
    reports: BackgroundLeadership = names["reports"]
    transport = httpx.ASGITransport(app=names["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        assert (await client.get("/role")).json() == "candidate"
        assert (await client.post("/compact")).status_code == 503
        async with names["app"].router.lifespan_context(names["app"]):
            async with asyncio.timeout(30):
                while not reports.leading:
                    await asyncio.sleep(0.01)
            assert (await client.get("/role")).json() == "leader"
            assert (await client.post("/compact")).json()["token"] > 0
    assert not reports.leading


def test_the_apscheduler_program_schedules_its_job(store: None) -> None:
    [program] = blocks(recipe("apscheduler"), "python")
    [job] = run(program)["scheduler"].get_jobs()
    assert job.id == "nightly-report"


def test_the_systemd_program_runs_without_systemd(store: None) -> None:
    [program] = blocks(DOCS / "integrations.md", "python")
    assert run(program)["leadership"].token > 0


def test_the_django_command_compiles() -> None:
    [program] = blocks(recipe("django"), "python")
    compile(program, "send_reports.py", "exec", dont_inherit=True)


def test_the_suite_of_the_pytest_recipe_passes(pytester: pytest.Pytester) -> None:
    conftest, tests = blocks(recipe("pytest"), "python")
    pytester.makeconftest(conftest)
    pytester.makepyfile(test_reports=tests)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=110).assert_outcomes(
        passed=tests.count("def test_")
    )


def test_the_manifest_and_its_excerpt_agree_and_the_probes_ask_what_is_served() -> None:
    secret, deployment = yaml.safe_load_all((DOCS / "examples" / "kubernetes" / "reports.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [excerpt] = [yaml.safe_load(block) for block in blocks(recipe("kubernetes"), "yaml")]
    assert excerpt["terminationGracePeriodSeconds"] == pod["terminationGracePeriodSeconds"]
    assert excerpt["containers"][0]["command"] == container["command"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    [port] = [port["containerPort"] for port in container["ports"]]
    assert container["command"][container["command"].index("--health") + 1].endswith(f":{port}")
    assert container["envFrom"][0]["secretRef"]["name"] == secret["metadata"]["name"]
    check_command_line([*container["command"], *container["args"]])


def test_the_command_lines_of_pages_and_units_are_understood() -> None:
    texts = [page.read_text() for page in RECIPES]
    texts += [unit.read_text() for unit in (DOCS / "examples" / "systemd").glob("*.service")]
    lines = [
        line
        for text in texts
        for line in re.findall(r"^(?:ExecStart=/usr/local/bin/)?(leasekit .* -- .*)$", text, re.MULTILINE)
    ]
    assert len(lines) >= 5
    for line in lines:
        check_command_line(shlex.split(line))


def check_command_line(words: list[str]) -> None:
    """Whether the `leasekit` command takes it. Raises click's errors."""
    assert words[0] == "leasekit"
    context = click.Context(cli)
    name, command, rest = cli.resolve_command(context, words[1:])
    assert command is not None
    command.make_context(name, rest, parent=context)
