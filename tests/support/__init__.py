"""What the tests share: real servers, a breakable link to them, hosts of their own. `from support.servers import ...`

Servers (`support.servers`): context managers on loopback, free ports, data in a temporary folder.

    EtcdCluster(size=1, version="3.5", tls=None | "server" | "mutual", auth=None | (user, password),
                auth_token_ttl_s=300, election_timeout_ms=None, heartbeat_ms=None, peer_links=False)
    ConsulCluster(size=1, tls=None | "server" | "mutual", acl_token=None, session_ttl_min="1s",
                  max_connections_per_client=None)
    RaftCluster(size=1, tls=None | "server" | "mutual", election_timeout_ms=250, heartbeat_ms=50)

    .endpoints                  ["127.0.0.1:port", ...], one per server
    .url(prefix, **options)     a store URL with ca, cert and key where TLS needs them; endpoints=[proxy.address]
                                aims it elsewhere, ca=None leaves one out, userinfo=True puts user and password in
    .environment                the variables that carry the credentials (LEASEKIT_USERNAME, CONSUL_HTTP_TOKEN, ...)
    .kill(i) .start(i)          SIGKILL; start again with the same data and ports. start(i, wait=False): do not wait
    .pause(i) .resume(i)        SIGSTOP, SIGCONT
    .stop_all() .start_all()    all of them
    .leader_index()             which server leads, waiting for one to
    .wait_ready()               until every running server answers linearizable reads
    .ca .certificates           files: the CA, and the client's certificate and key
    EtcdCluster.etcdctl(*args)  run etcdctl, return its stdout
    EtcdCluster.isolate(i)      cut server i off from its peers, not from clients, until `.reunite()`; peer_links=True
    ConsulCluster.http(method, path, body=None)   one request, returns (status, body)
    RaftCluster.status(i)       how member `m<i>` sees itself; None if it does not answer
    .terminate(i) .wait_ended(i)    SIGTERM; wait for an end by itself, which gives the exit code
    .output(i)                  all that it has written

All of it blocks: from a coroutine use `await asyncio.to_thread(cluster.kill, 0)`.

A breakable link (`support.proxy`), TCP on loopback:

    with Proxy("127.0.0.1:2379") as proxy:      # proxy.address, proxy.port, proxy.connections, proxy.bytes_sent, ...
        proxy.cut(); proxy.heal(); proxy.delay_s = 0.2; proxy.drop_replies(); proxy.close_connections()

Hosts of their own (`support.netns`, as root on Linux), joined by a switch:

    with Network() as network:                  # network.address: this machine, as the hosts see it
        host = network.host()                   # host.address, host.popen(command), host.run(command)
        host.cut(); host.heal()                 # its packets vanish, links stay up

Candidates in processes of their own, and what they believed (`support.team`, `support.evidence`):

    with Team(folder, url, ttl_s=1) as team:    # at its end: never two valid at once, tokens strictly rise
        first = team.enlist(store, "first"); first.tell("resign"); first.pause(); first.kill()
        reign = team.wait_valid(above=token); team.wait_over(reign); team.queue(store)

Cores of Raft, alone (`support.raft`: core, found, say, drain, elect) or on a network of virtual ticks, from one seed, where
it is checked all the time that no term has two leaders and no index two entries; `support.raft_script` plays scripts:

    cluster = Cluster("abc", seed=1)            # cluster.loss, .delay_ticks, .disk_ticks, .cut(a, b), .isolate(a), .heal()
    cluster.agree(b"x"); cluster.leader().crash(); cluster["a"].start(); cluster.tick(50); cluster.until(condition)

Raft under fire: clients at work in a thread, judged at the end by `support.raft_history` (an order that explains every
answer, nothing acknowledged lost, revisions and tokens that rise, leases that last), while members are broken:

    with LinkedCluster(5) as cluster, Load(cluster.url("fire")) as load:    # support.raft_linked, support.raft_load
        cluster.isolate(cluster.leader_index()); load.goes_on(); cluster.reunite()

    support.raft_disks (syncs that fail or hang, small file systems), support.raft_hosts (members in namespaces),
    support.raft_operator (`leasekit raft ...`), support.raft_wrong (members with faults, which must be found);
    `cd tests && python -m support.raft_fire --minutes 5`: everything at once.

Fixtures (tests/conftest.py): `etcd`, `etcd34`, `consul`, `raft`: one server each, shared by a worker's tests, so leave
it running and use `prefix` (unique per test); `etcd_cluster`, `consul_cluster`, `raft_cluster`: three servers for one
test alone.
"""
