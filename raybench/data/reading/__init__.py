"""From stored or encoded images to batches on a device.

`encoded` locates the bytes of images in files; `decode_image` decodes one image, `decode_dataset` all of them;
`resident` stores a decoded dataset for all processes of a node; `short_side` caches large images scaled down. `batches`
reads a dataset that fits into memory, `stream` decodes one that does not; `order` holds seeds and sample orders.
"""
