"""Overrides: composed as Hydra composes them for the trainer, or refused before a launch."""

from __future__ import annotations

from fuzz.mutations import NASTY, bounded, edited, text
from fuzz.sizes import one_in
from hypothesis import example, given
from hypothesis import strategies as st

from preprocess.faults import FaultsError
from training.configuration.overrides import compose, compose_all, flat, leaves
from training.plan.options import LaunchOptions
from training.plan.train_script import OWN_CONFIG, load_train_script
from training.system.paths import Roots
from training.trainer.config.compose import load_config

KEYS = sorted(dict(leaves(compose(OWN_CONFIG, ()).content)))
WORDS = r"""1 0 -3 1e-3 .5 nan inf true null ??? word a-b [] {} [1,2] [a,b] {a:1} {a:{b:2}}
${seed} ${oc.env:HOME} ${oc.env:NOWHERE} ${nowhere} ${shared.exp_name} ${ ${{ $ / % 1_000 0x1f
1,2 a,b range(3) range(1,4) choice(a,b) glob(*) interval(0,1) sort(3,1) shuffle(1,2) tag(t,1)
int(3.5) str(1) bool(x) extend_list(1) json_str({a:1}) ' " \'\' "" "a,b" 'it\'s' a\,b \ \\"""
words = st.sampled_from(WORDS.split()) | st.sampled_from(NASTY)
written_values = st.one_of(
    words,
    st.tuples(words, words).map("".join),
    st.lists(words, min_size=1, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    st.integers().map(str),
    st.floats().map(str),
    text,
)
keys = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(KEYS).flatmap(lambda key: edited(key, 1)),
    st.tuples(st.sampled_from(KEYS), words).map(".".join),
)
plain = st.tuples(st.sampled_from(KEYS), written_values).map("=".join)
overrides = st.one_of(
    plain,
    plain,
    st.tuples(st.sampled_from(["", "+", "++", "~", "--"]), keys, written_values).map(
        lambda parts: f"{parts[0]}{parts[1]}={parts[2]}"
    ),
    st.tuples(st.sampled_from(["~", ""]), keys).map("".join),
    plain.flatmap(lambda text: edited(text, 1)),
)


ROOTS = Roots(results_root="/r", scene_data_root="/d", state_root="/s")


@one_in(50)
@given(given=st.lists(overrides, min_size=1, max_size=2))
def test_what_the_launcher_takes_the_trainer_takes(given):
    """Invariant 1: no override that was let pass ends a training as `config`."""
    options = LaunchOptions(exp_name="e", overrides=given)
    with bounded():
        try:
            script = load_train_script(options, ROOTS)
        except FaultsError:
            return
        if not script.faults:
            load_config(["shared.scene_name=a", "shared.exp_name=e", *given])


@one_in(50)
@example("seed=1", ["cpu_rasterizer=a"], "~cpu_rasterizer")
@example("seed=?1", ["seed=2"], "seed=?1")
@example("seed=3", ["train.optimization.grad_clip=2"], "seed=4")
@given(first=plain, others=st.lists(plain, min_size=1, max_size=2), common=overrides)
def test_the_quick_way_composes_what_hydra_composes(first, others, common):
    """`compose_all` sets plain values itself: the fingerprint must not tell the ways apart."""
    with bounded():
        variants = [[first], *([each] for each in others)]
        try:
            quick = compose_all(OWN_CONFIG, [common], variants)
        except FaultsError:
            return
        for variant, found in zip(variants, quick, strict=True):
            alone = compose(OWN_CONFIG, (common, *variant))
            assert sorted(map(str, found.faults)) == sorted(map(str, alone.faults))
            if not found.faults:
                assert repr(flat(found.content)) == repr(flat(alone.content))
