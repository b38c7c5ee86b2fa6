"""Real servers for tests; see the package's text."""

from support.consul import ConsulCluster
from support.etcd import EtcdCluster

__all__ = ["ConsulCluster", "EtcdCluster"]
