"""From pixels to model input: the evaluation view, the training augmentation and the normalization.

`views` makes a fixed square of an image of any size; `augment` draws and applies the training augmentation of a batch,
with the operations of `affine`, `color`, `autoaugment` and `resized_crop`; `normalize` turns uint8 pixels into floats.
"""
