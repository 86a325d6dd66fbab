"""AIR of objects on a table, whose decoder is the renderer (`airjax.render3d`): paper, section 3.3."""
