import jax
import pytest
from jax._src import compiler


@pytest.fixture(scope="module")
def as_users_compile():
    """Compile by the code generator that users have. By that of other tests, single rays of cups differ."""
    emitters, options = {"xla_cpu_use_fusion_emitters": True}, compiler.get_compile_options

    def by_emitters(*arguments, env_options_overrides=None, **named):
        return options(*arguments, env_options_overrides=(env_options_overrides or {}) | emitters, **named)

    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", by_emitters)
        yield
    jax.clear_caches()
