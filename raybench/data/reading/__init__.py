"""From stored or encoded images to batches on a device: decoding, streaming, ordering."""
