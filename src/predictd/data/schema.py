"""The file names and columns of a data version, as Numerai publishes v5.3."""

from functools import cache

FEATURE_COUNT = 2748
SMALL_COUNT = 42
MEDIUM_COUNT = 780
FNCV3_COUNT = 400
FAMILY_SIZE = 12
"""The number of neighboring features that share a latent value; see `predictd.data.generator`."""

FEATURES_FILE = "features.json"
TRAIN_FILE = "train.parquet"
VALIDATION_FILE = "validation.parquet"
VALIDATION_BENCHMARKS_FILE = "validation_benchmark_models.parquet"
VALIDATION_EXAMPLE_FILE = "validation_example_preds.parquet"
META_MODEL_FILE = "meta_model.parquet"
LIVE_FILE = "live.parquet"
LIVE_BENCHMARKS_FILE = "live_benchmark_models.parquet"
LIVE_EXAMPLE_FILES = ("live_example_preds.parquet", "live_example_preds.csv")
LIVE_FILES = (LIVE_FILE, LIVE_BENCHMARKS_FILE, *LIVE_EXAMPLE_FILES)
FEATURE_FILES = (TRAIN_FILE, VALIDATION_FILE, LIVE_FILE)
VALIDATION_FILES = (
    VALIDATION_FILE,
    FEATURES_FILE,
    META_MODEL_FILE,
    VALIDATION_BENCHMARKS_FILE,
    VALIDATION_EXAMPLE_FILE,
)

LIVE_ERA = "X"
FIRST_VALIDATION_ERA = 575

SKILLS = ("intelligence", "charisma", "strength", "dexterity", "constitution", "wisdom", "agility", "serenity")
"""Groups of features whose effects grow, shrink or reverse together in an era."""

TARGET_NAMES = ("ender", "cyrusd", "teager2b", "jasper", "victor", "xerxes", "ralph", "tyler", "waldo", "rowan")
HORIZONS = (20, 60)
TARGETS = ("target", *(f"target_{name}_{days}" for name in TARGET_NAMES for days in HORIZONS))
"""`target` equals `target_ender_20`."""

BENCHMARKED = ("ender", "cyrusd", "teager2b", "jasper")
BENCHMARKS = tuple(f"v53_lgbm_{name}{days}" for name in BENCHMARKED for days in HORIZONS)

_ADJECTIVE_WORDS = (
    "antique ashen balmy bardic blithe brackish breezy brindled candid cerulean chaste chordal cloven coastal cogent "
    "crimson cubic curt dapper deft dewy diurnal dormant drowsy dulcet earthen elfin epic errant fabled feral fervid "
    "fluted foggy frugal gallant gilded glacial gnomic granular hallowed hasty hoary humid idle inert jaunty jovial "
    "keen lanky latent limpid lucid lunar mellow misty molten muted nimble nordic oaken ochre opaque pastoral pensive "
    "pliant polar quaint rustic sable salient sanguine serene silken sombre spry stoic sylvan tacit tepid terse tidal "
    "umber urbane vagrant verdant vivid wary wistful woven zonal"
)
_NOUN_WORDS = (
    "abbey acorn almanac anvil apse arbor argosy atlas aviary axiom balsam banner barley basalt beacon birch bobbin "
    "brazier brook cairn canto caravel cedar chalice cinder citadel clarion cloister cobalt compass coral corvid crag "
    "cypress dahlia delta dirge dolmen drumlin eddy ember escarpment estuary falcon fathom fen fjord flint foxglove "
    "gable galleon garnet gazebo geode glade granite grotto gull harbor harrow hazel heath helm heron hymn ibis inlet "
    "iris isthmus ivory jasmine jetty juniper kelp kestrel kiln knoll lagoon lantern larch lattice lichen lintel loom "
    "lyre mallow marlin marsh meadow mica minaret moraine moss nectar nimbus oasis obelisk orchard osprey otter "
    "parapet pebble pennant petrel plover prairie quarry quill raven reed rill rowan saffron sedge shale sonnet spire "
    "steppe tarn tern thicket thistle tundra turret vale vesper viola walnut warbler willow yarrow yew zephyr zither"
)


@cache
def feature_names() -> tuple[str, ...]:
    """Return the 2748 unique names `feature_<adjective>_<noun>_<noun>`, in column order."""
    adjectives, nouns = _ADJECTIVE_WORDS.split(), _NOUN_WORDS.split()
    names: dict[str, None] = {}
    position = 0
    while len(names) < FEATURE_COUNT:
        # A step that is coprime to the number of triples visits each once and mixes all three words.
        position = (position + 611_953) % (len(adjectives) * len(nouns) ** 2)
        rest, second = divmod(position, len(nouns))
        adjective, first = divmod(rest, len(nouns))
        if first != second:
            names[f"feature_{adjectives[adjective]}_{nouns[first]}_{nouns[second]}"] = None
    return tuple(names)


def spread(count: int) -> list[int]:
    """Return indices of `count` features, evenly spread over all columns; smaller sets are subsets of larger ones."""
    return sorted(_shuffled()[:count])


@cache
def _shuffled() -> tuple[int, ...]:
    """Return all feature indices in an order whose every prefix is spread over the columns."""
    # 1699 / 2748 approximates the golden ratio and is coprime to it, so the steps fill the columns evenly.
    return tuple(step * 1699 % FEATURE_COUNT for step in range(FEATURE_COUNT))


def skill_of(feature: int) -> int:
    """Return the index into `SKILLS` of the feature at that column."""
    return feature // FAMILY_SIZE % len(SKILLS)


def feature_sets() -> dict[str, list[str]]:
    """Return the feature sets of features.json in column order: small ⊂ fncv3_features ⊂ medium ⊂ all."""
    names = feature_names()
    sets = {
        "small": [names[j] for j in spread(SMALL_COUNT)],
        "medium": [names[j] for j in spread(MEDIUM_COUNT)],
        "all": list(names),
        "fncv3_features": [names[j] for j in spread(FNCV3_COUNT)],
    }
    for skill, title in enumerate(SKILLS):
        sets[title] = [name for j, name in enumerate(names) if skill_of(j) == skill]
    return sets
