"""NDB/K: the share of bins that hold different proportions of real and generated clips (Richardson & Weiss 2018); their JS.

The K bins are the cells of k-means of one half of the reference; the other half is counted in them. A bin is different where
the pooled two-proportion z of its real share p (of N clips) and generated share q (of M) is significant at 5 %, two-sided:

    z = (q - p) / sqrt(P (1 - P) (1/N + 1/M)),   P = (pN + qM) / (N + M)
    JS = KL(p || m) / 2 + KL(q || m) / 2,   m = (p + q) / 2;   nats, 0 (the same shares) ... log 2

A bin that is empty on both sides (or holds everything on both) agrees: z = 0. With equal distributions NDB/K is about 0.05,
not 0; `expected` in the details is exact given how many clips each bin holds. JS is then about (K - 1)(1/N + 1/M) / 8: `bias`.
The interval of NDB/K is half too wide for a perfect generator, since resampling adds to the differences that it counts, and up
to a tenth too narrow for a bad one; that of JS is too wide where the shares are nearly equal (its first order vanishes).

Differs from the paper: K = 50 as in SC09 (a twentieth of the reference where that is less) instead of 100; in the 64 leading
principal components where there are more features; two halves, because bins divide the clips that they were fitted to more
evenly than others, which hides differences; both values are means over ten k-means seeds, because one partition's depend on its
seed. `bins` in the details, with the Holm-corrected decisions and the chi-square test, are those of the first.
"""

from typing import Any

import numpy as np

from evaluation import kmeans, proportions
from evaluation.distances import Points
from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import Z, normal_interval, standard_error

VERSION = 1
K, PER_BIN, PARTITIONS, DRAWS, SHOWN = 50, 20, 10, 1000, 20
FEATURES: dict[str, Any] = {"needs": ("features",), "needs_reference": ("features",), "minimum": 20, "headline": False}

NDB = Metric(
    key="v1/ndb",
    name="NDB/K",
    version=VERSION,
    better="lower",
    doc="Share of k-means bins that hold another proportion of clips than in the corpus; 0.05 by chance alone.",
    **FEATURES,
)
JS = Metric(
    key="v1/ndb/js",
    name="NDB JS",
    version=VERSION,
    better="lower",
    unit="nats",
    digits=4,
    doc="Jensen-Shannon divergence between the real and the generated proportions of the k-means bins.",
    **FEATURES,
)
METRICS = (NDB, JS)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """mean (D,), basis (D, d); of the bins of all partitions centres (B, d), real counts (B,), partition (B,); typical: index
    of the clip nearest to the centre of each of the first partition's bins; count (), of which counted () are in the bins."""
    NDB.require(reference, "reference")
    features, n = reference.array("features"), len(reference)
    order = Points(features).by_content()  # so that the halves do not depend on that of the clips
    fitted, counted = np.split(order[np.random.default_rng(n).permutation(n)], [n // 2])
    space = kmeans.space(features[fitted])
    points = space.points(features)
    found = [kmeans.kmeans(points[fitted], max(2, min(K, n // PER_BIN)), seed).centres for seed in range(PARTITIONS)]
    counts = [np.bincount(kmeans.nearest(points[counted], c), minlength=len(c)) for c in found]
    labels = kmeans.nearest(points, found[0])
    return {
        **space._asdict(),
        "centres": np.concatenate(found),
        "real": np.concatenate(counts),
        "partition": np.repeat(np.arange(PARTITIONS), [len(c) for c in found]),
        "typical": np.array([members[0] for members in kmeans.by_nearness(points, found[0], labels)]),
        "count": np.array(n),
        "counted": np.array(len(counted)),
    }


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """NDB/K and JS. Raises ValueError where the dimension of the features is not the reference's."""
    NDB.require(generated)
    points = kmeans.Space(prepared["mean"], prepared["basis"]).points(generated.array("features"))
    n, m, partition = int(prepared["counted"]), len(points), prepared["partition"]
    centres, real = ([prepared[name][partition == r] for r in range(PARTITIONS)] for name in ("centres", "real"))
    labels = [kmeans.nearest(points, c) for c in centres]
    counts = [np.bincount(label, minlength=len(c)) for label, c in zip(labels, centres, strict=True)]

    sides = list(zip(real, counts, strict=True))
    different = [float(np.mean(np.abs(proportions.z_scores(a, n, b, m)) > Z)) for a, b in sides]
    divergence = [proportions.jensen_shannon(a / n, b / m) for a, b in sides]
    slopes = [
        proportions.jensen_shannon_slope(a / n, b / m)[label] for (a, b), label in zip(sides, labels, strict=True)
    ]
    influence = np.mean([slope - slope.mean() for slope in slopes], axis=0)

    bins = len(centres[0])
    warnings = [f"coarse: {m} clips in {bins} bins; below 5 in each, the tests are approximate"] if m < 5 * bins else []
    if bins < 2:
        warnings.append("degenerate: all clips of the reference have the same features, so there is one bin")
    common: dict[str, Any] = {"bin_count": bins, **({"warnings": warnings} if warnings else {})}
    members = kmeans.by_nearness(points, centres[0], labels[0])
    counted: dict[str, Any] = {"n_reference": int(prepared["count"]), "n_generated": m}
    return [
        NDB.score(
            float(np.mean(different)),
            normal_interval(float(np.mean(different)), _scatter(labels, real, n)),
            f"standard deviation over {DRAWS:,} bootstrap draws of the generated clips, normal",
            **counted,
            details=common | {"partitions": different} | _first(real[0], n, counts[0], m, prepared["typical"], members),
        ),
        JS.score(
            float(np.mean(divergence)),
            normal_interval(float(np.mean(divergence)), standard_error(influence)),
            "influence function, normal; real shares held fixed",
            **counted,
            per_sample=influence,
            details=common | {"partitions": divergence, "bias": (bins - 1) * (1 / n + 1 / m) / 8},
        ),
    ]


def _scatter(labels: list[np.ndarray], real: list[np.ndarray], n: int) -> float:
    """Standard deviation of NDB/K over bootstrap draws. The clips are sorted first: their order must not matter."""
    table = np.stack(labels, axis=1)
    table = table[np.lexsort(table.T)]
    m = len(table)
    drawn = np.random.default_rng(0).integers(m, size=(DRAWS, m)) + m * np.arange(DRAWS)[:, None]
    weights = np.bincount(drawn.ravel(), minlength=DRAWS * m).reshape(DRAWS, m).astype(np.float64)
    total = np.zeros(DRAWS)
    for column, a in zip(table.T, real, strict=True):
        total += np.mean(np.abs(proportions.z_scores(a, n, weights @ np.eye(len(a))[column], m)) > Z, axis=1)
    return float(np.std(total / len(real), ddof=1))


def _first(
    a: np.ndarray, n: int, b: np.ndarray, m: int, typical: np.ndarray, members: list[np.ndarray]
) -> dict[str, Any]:
    """What the report shows: the first partition, fullest bin first; `clips`: generated ones in the bin, most typical first."""
    z = proportions.z_scores(a, n, b, m)
    p = proportions.p_values(z)
    columns = {"real": a / n, "generated": b / m, "z": z, "p": p, "holm": proportions.holm(p), "typical": typical}
    rows = zip(*(column.tolist() for column in columns.values()), (c[:SHOWN].tolist() for c in members), strict=True)
    return {
        "expected": proportions.expected_share(a, n, b, m),
        "homogeneity_p": proportions.homogeneity(a, b),
        "holm": int(columns["holm"].sum()),
        "bins": [dict(zip((*columns, "clips"), row, strict=True)) for row in rows],
    }
