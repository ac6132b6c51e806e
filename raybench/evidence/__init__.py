"""Evidence that can be filed: a folder that states a verdict first, and from which anyone can check it again.

`certify` writes the folder of one method of a run; `verify` checks it on any machine, without the storage.
"""

from raybench.evidence.certify import Request, certify
from raybench.evidence.verify import Check, verify

__all__ = ["Check", "Request", "certify", "verify"]
