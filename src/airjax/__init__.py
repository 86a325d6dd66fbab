"""Attend, Infer, Repeat in JAX: count, locate and redraw the objects of a scene, without labels.

The names here are the ones most programs need. The rest is in seven packages, each of which imports only those after
it: `interfaces` (command line, scikit-learn, web page, files), `runs` (folders, checkpoints, figures), `inference`,
`learning`, `data`, `models` and `render3d`.
"""

# Models, and the parts that they are made of
from airjax.config import Config as Config
from airjax.config import DataConfig as DataConfig
from airjax.config import ModelConfig as ModelConfig
from airjax.config import TrainConfig as TrainConfig

# Scenes to learn from
from airjax.data.scenes import Scenes as Scenes
from airjax.data.sources import load_scenes as load_scenes

# Inference with a trained model
from airjax.inference.evaluate import evaluate as evaluate
from airjax.inference.infer import Bounds as Bounds
from airjax.inference.infer import Found as Found
from airjax.inference.infer import bound as bound
from airjax.inference.infer import find as find
from airjax.inference.masks import label_images as label_images
from airjax.inference.masks import whole_masks as whole_masks
from airjax.models.air import AIR as AIR
from airjax.models.air import WherePrior as WherePrior
from airjax.models.air3d.model import AIR3D as AIR3D
from airjax.models.base import Family as Family
from airjax.models.base import Trajectory as Trajectory
from airjax.models.build import build_model as build_model
from airjax.models.build import build_patches as build_patches
from airjax.models.likelihood import BernoulliLikelihood as BernoulliLikelihood
from airjax.models.likelihood import NormalLikelihood as NormalLikelihood
from airjax.models.patches.base import Code as Code
from airjax.models.patches.base import PatchModel as PatchModel
from airjax.models.patches.base import gaussian_code as gaussian_code
from airjax.models.patches.conv import ConvPatches as ConvPatches
from airjax.models.patches.draw import DRAWPatches as DRAWPatches
from airjax.models.patches.mlp import MLPPatches as MLPPatches

# Learning in a folder
from airjax.runs.fit import fit as fit
from airjax.runs.pretrained import from_pretrained as from_pretrained
from airjax.runs.pretrained import load as load
from airjax.runs.pretrained import save_pretrained as save_pretrained
from airjax.runs.record import load_model as load_model
