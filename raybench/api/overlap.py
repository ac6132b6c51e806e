"""Find forget samples that are also in another set, by their pixels: then the numbers would not mean what they say."""

import hashlib
from collections.abc import Mapping, Set

from torch import Tensor

from raybench.errors import UserError

MISTAKE = 0.5  # fraction of the forget samples in another set from which it is a mistake, not a few duplicates
EXPECTED = {
    "retain": "retain samples must not contain them, and retrained models must not be trained on them",
}
UNSEEN = "no model may have been trained on its samples"


def digests(x: Tensor) -> list[bytes]:
    """Return a hash of each sample of a batch, as the data set gives it."""
    rows = x.detach().cpu().contiguous()
    values = (rows.float() if rows.is_floating_point() else rows).numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in values]


def shared_samples(samples: Mapping[str, Set[bytes]]) -> list[str]:
    """Return a sentence for each role that has some forget samples too; raise UserError if it has half of them."""
    forget = samples["forget"]
    notes = []
    for role, others in samples.items():
        count = len(forget & others) if role != "forget" else 0
        if count == 0:
            continue
        found = f"{count} of {len(forget)} forget samples are also in {role}, pixel for pixel"
        if count >= MISTAKE * len(forget):
            raise UserError(f"{role}: {found}; {EXPECTED.get(role, UNSEEN)}")
        notes.append(f"note: {found}")
    return notes
