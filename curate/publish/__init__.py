"""Publishing: a run to the Hub in one commit and back, and its exports beside the Hub."""

from curate.publish.export import export as export
from curate.publish.pull import pull as pull
from curate.publish.push import push as push
