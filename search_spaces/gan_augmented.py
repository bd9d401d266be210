"""The space of the GAN family with augmentation of images beside it, for data of which there are few."""

from search_spaces import Space
from search_spaces.blocks.augmentation import image_augmentation
from search_spaces.gan import SPACE as GAN

SPACE = Space.of("gan_augmented", GAN.parameters, image_augmentation())
