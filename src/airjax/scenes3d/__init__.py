"""Scenes in three dimensions: a differentiable renderer of objects on a table (docs/scenes3d.md)."""

from airjax.scenes3d.camera import Camera as Camera
from airjax.scenes3d.camera import Rays as Rays
from airjax.scenes3d.camera import look_at as look_at
from airjax.scenes3d.camera import orbit as orbit
from airjax.scenes3d.compositing import Canvas as Canvas
from airjax.scenes3d.compositing import Layer as Layer
from airjax.scenes3d.compositing import blank as blank
from airjax.scenes3d.finite import differentiable as differentiable
from airjax.scenes3d.kinds import CROCKERY as CROCKERY
from airjax.scenes3d.kinds import KINDS as KINDS
from airjax.scenes3d.kinds import SOLIDS as SOLIDS
from airjax.scenes3d.kinds import Kind as Kind
from airjax.scenes3d.render import Setting as Setting
from airjax.scenes3d.render import daylight as daylight
from airjax.scenes3d.render import draw as draw
from airjax.scenes3d.render import draw_each as draw_each
from airjax.scenes3d.render import draw_identity as draw_identity
from airjax.scenes3d.render import empty_table as empty_table
from airjax.scenes3d.render import render as render
from airjax.scenes3d.table import Table as Table
from airjax.scenes3d.view import Light as Light
from airjax.scenes3d.view import Pose as Pose
