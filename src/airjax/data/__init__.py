"""Data sets: scenes with counts, boxes and labels, and banks of digits to compose scenes from.

Everything here is plain NumPy and returns `Scenes` or a `DigitBank`.
"""

from airjax.data.backgrounds import add_background as add_background
from airjax.data.banks import DigitBank as DigitBank
from airjax.data.banks import embedded_digits as embedded_digits
from airjax.data.mnist import load_mnist as load_mnist
from airjax.data.multi_digits import multi_digits as multi_digits
from airjax.data.multi_dsprites_like import FORMS as FORMS
from airjax.data.multi_dsprites_like import multi_dsprites_like as multi_dsprites_like
from airjax.data.omniglot import Drawings as Drawings
from airjax.data.omniglot import load_omniglot as load_omniglot
from airjax.data.scenes import Scenes as Scenes
from airjax.data.scenes import load_npz as load_npz
from airjax.data.scenes import save_npz as save_npz
from airjax.data.sources import load_scenes as load_scenes
from airjax.data.sprites import SHAPES as SHAPES
from airjax.data.sprites import sprites as sprites
