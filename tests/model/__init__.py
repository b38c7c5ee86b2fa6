"""An explicit-state model checker that drives the real election: `leasekit.core`, not a rewrite of it.

A *state* is a small store, two or three processes and what is left of a budget of faults, wishes and campaigns. Every
interleaving of everything that may happen next is explored until nothing new comes, or a bound is met. Each process
is the real state machine (`leasekit.core.election.step`), the real `Belief` and the real `Remains`; only the shell
around them is modelled (`process`), request for request as `keeper` and `elector` do it.

What is assumed, and makes the space small enough:

* Time goes in ticks of a third of the ttl, and the present is always 0: a tick moves every stored instant back
  (`aging`). A tick comes only when every running process has done all that is due, so lateness is a fault: a process
  is *paused* (does nothing at all) or *cut off* (runs, but nothing passes between it and the store).
* A request is applied and answered in one move. What may come between is a fault as well: the answer is lost, the
  request is applied later than its process waits for, or the process is paused or cut off while it is under way.
  A write that was given up may be applied until 2 x ttl later, as long as the core reckons with it, and not after that.
* The store forgets a lease no sooner than its ttl (Consul: twice that) after its last renewal, and then at any moment.
* A watch tells the latest change of each key, at any moment; with a fault, a change that is out of date by then.

Run `PYTHONPATH=tests python -m model` for the large bounds.
"""
