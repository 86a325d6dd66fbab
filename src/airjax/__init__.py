"""Attend, Infer, Repeat in JAX: count, locate and redraw the objects of a scene, without labels.

From here: the model and its parts (`AIR`, patch models, priors in `count`), what it learns by (`objective`,
`estimators`, `train`), and what a trained one is used for (`load_model`, `find`, `bound`, `evaluate.evaluate`).
Training in a folder, with checkpoints and pictures, is `airjax.fit.fit`; scenes are in `airjax.data`, figures in
`airjax.plots`, patch models without AIR in `airjax.alone`.
"""

from airjax import count as count
from airjax import estimators as estimators
from airjax import evaluate as evaluate
from airjax import inference as inference
from airjax import objective as objective
from airjax import train as train
from airjax import windows as windows
from airjax.build import build_model as build_model
from airjax.build import build_patches as build_patches
from airjax.config import Config as Config
from airjax.config import DataConfig as DataConfig
from airjax.config import ModelConfig as ModelConfig
from airjax.config import TrainConfig as TrainConfig
from airjax.family import Family as Family
from airjax.family import Trajectory as Trajectory
from airjax.inference import Bounds as Bounds
from airjax.inference import Found as Found
from airjax.inference import bound as bound
from airjax.inference import find as find
from airjax.likelihood import BernoulliLikelihood as BernoulliLikelihood
from airjax.likelihood import NormalLikelihood as NormalLikelihood
from airjax.model import AIR as AIR
from airjax.model import WherePrior as WherePrior
from airjax.patches.base import Code as Code
from airjax.patches.base import PatchModel as PatchModel
from airjax.patches.base import gaussian_code as gaussian_code
from airjax.patches.conv import ConvPatches as ConvPatches
from airjax.patches.draw import DRAWPatches as DRAWPatches
from airjax.patches.mlp import MLPPatches as MLPPatches
from airjax.pretrained import from_pretrained as from_pretrained
from airjax.pretrained import load as load
from airjax.pretrained import save_pretrained as save_pretrained
from airjax.run import load_model as load_model
