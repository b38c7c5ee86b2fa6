"""Real servers for tests; see the package's text."""

from support.consul import ConsulCluster
from support.etcd import EtcdCluster
from support.raft_cluster import RaftCluster

__all__ = ["ConsulCluster", "EtcdCluster", "RaftCluster"]
