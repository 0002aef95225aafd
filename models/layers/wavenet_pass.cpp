// One timestep of WaveNet for a single sequence, as one pass over its weights.
//
// A single sequence does next to nothing with each weight: what takes the time is reading them. Here they lie in the order in
// which they are needed (models/layers/wavenet_pass.py), so that fetching them runs ahead from layer to layer while activations
// wait for each other; most take three bytes each, and behind a ReLU the weights of zeros are not read.
// Tuned where a vector is 16 numbers (AVX-512).

#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <vector>

namespace {

using Vector = at::vec::Vectorized<float>;
constexpr int64_t LANES = Vector::size();
constexpr int64_t PANEL = 64, WIDE = 256;  // outputs that are summed up together; wavenet_pass.py says them too
constexpr int64_t QUARTER = PANEL / 4, COLUMN = 3 * QUARTER;  // of a panel's weights for one input, packed
constexpr int64_t LINE = 16;               // numbers that are fetched at a time
constexpr int64_t FETCHED = 2048;          // how many numbers fetching is ahead
constexpr int64_t FETCHED_POSITIVE = 8;    // how many inputs that are not zero, behind a ReLU
static_assert(QUARTER % LANES == 0 && WIDE % PANEL == 0);

int64_t padded(int64_t size, int64_t panel) { return (size + panel - 1) / panel * panel; }

// Of addresses, since at the end they are not of numbers any more.
void fetch(const float* weights, int64_t ahead, int64_t count) {
  const auto first = reinterpret_cast<std::uintptr_t>(weights) + ahead * sizeof(float);
  for (int64_t i = 0; i < count; i += LINE) __builtin_prefetch(reinterpret_cast<const void*>(first + i * sizeof(float)));
}

// As Vector, for operations on bits
using Floats __attribute__((vector_size(LANES * sizeof(float)))) = float;
using Words __attribute__((vector_size(LANES * sizeof(int32_t)))) = int32_t;

Words words(const float* weights) {
  Words loaded;
  std::memcpy(&loaded, weights, sizeof loaded);
  return loaded;
}

// A vector of each quarter of a column: whole numbers of 24 bits, times 256. Three words have four of them: in their upper three
// bytes one each, in their lowest bytes the fourth.
struct Quarters {
  Floats at[4];

  explicit Quarters(const float* column) {
    const Words a = words(column), b = words(column + QUARTER), c = words(column + 2 * QUARTER);
    const Words fourth = (a << 24) | ((b & 255) << 16) | ((c & 255) << 8);
    at[0] = __builtin_convertvector(a & ~255, Floats);
    at[1] = __builtin_convertvector(b & ~255, Floats);
    at[2] = __builtin_convertvector(c & ~255, Floats);
    at[3] = __builtin_convertvector(fourth, Floats);
  }
};

struct Pass {
  const float* weights;  // the next ones

  // y += W x, for W in panels of PANEL outputs, each in blocks of PANEL inputs: a 256th of every output's step, since multiples
  // of it come times 256; every input's scale; the packed columns of multiples
  void product(std::vector<float>& y, const float* x, int64_t inputs) {
    constexpr int64_t N = QUARTER / LANES;
    for (size_t first = 0; first < y.size(); first += PANEL) {
      Floats sums[4][N];
      std::memcpy(sums, &y[first], sizeof sums);
      for (int64_t block = 0; block < inputs; block += PANEL) {
        Floats steps[4][N], even[4][N] = {}, odd[4][N] = {};  // apart so that fewer additions wait for each other
        float scaled[PANEL];
        std::memcpy(steps, weights, sizeof steps);
        for (int64_t i = 0; i < PANEL; ++i) scaled[i] = x[block + i] * weights[PANEL + i];
        fetch(weights, FETCHED, 2 * PANEL);
        weights += 2 * PANEL;
        for (int64_t i = 0; i < PANEL; i += 2, weights += 2 * COLUMN) {
          fetch(weights, FETCHED, 2 * COLUMN);
          for (int64_t n = 0; n < N; ++n) {
            const Quarters one(weights + n * LANES), other(weights + COLUMN + n * LANES);
            for (int64_t q = 0; q < 4; ++q) {
              even[q][n] += one.at[q] * scaled[i];
              odd[q][n] += other.at[q] * scaled[i + 1];
            }
          }
        }
        for (int64_t q = 0; q < 4; ++q)
          for (int64_t n = 0; n < N; ++n) sums[q][n] += (even[q][n] + odd[q][n]) * steps[q][n];
      }
      std::memcpy(&y[first], sums, sizeof sums);
    }
  }

  // y += W max(x, 0), for W in panels of WIDE outputs, each (inputs, WIDE)
  void product_of_positive(std::vector<float>& y, const std::vector<float>& x) {
    constexpr int64_t N = WIDE / LANES;
    std::vector<int64_t> positive;
    positive.reserve(x.size() + FETCHED_POSITIVE);
    for (size_t i = 0; i < x.size(); ++i)
      if (!(x[i] <= 0)) positive.push_back(i);  // what is not a number stays so
    const size_t count = positive.size();
    positive.resize(count + FETCHED_POSITIVE, x.size());
    for (size_t first = 0; first < y.size(); first += WIDE, weights += x.size() * WIDE) {
      Vector sums[N];
      for (int64_t n = 0; n < N; ++n) sums[n] = Vector::loadu(&y[first + n * LANES]);
      for (size_t k = 0; k < count; ++k) {
        fetch(weights, positive[k + FETCHED_POSITIVE] * WIDE, WIDE);
        const float* row = weights + positive[k] * WIDE;
        for (int64_t n = 0; n < N; ++n)
          sums[n] = at::vec::fmadd(Vector::loadu(row + n * LANES), Vector(x[positive[k]]), sums[n]);
      }
      for (int64_t n = 0; n < N; ++n) sums[n].store(&y[first + n * LANES]);
    }
  }
};

const float* numbers(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous(), "wavenet_pass: a tensor is not contiguous");
  return tensor.const_data_ptr<float>();
}

// weights: all of them, in order, in panels; x (channels,): the first layer's input; past (layers, channels): all layers' inputs
// of a dilation ago; from_past (layers that are 1 in `far`, 2 * padded channels): what these amount to, where that is known
// skips: channels of the sum of skips; panels: PANEL and WIDE as the weights were laid out
// Returns the logits (codes,) and the layers' inputs (layers, channels).
std::tuple<at::Tensor, at::Tensor> wavenet_pass(
    const at::Tensor& weights, const at::Tensor& x, const at::Tensor& past, const at::Tensor& from_past,
    const at::Tensor& bias_1, const at::Tensor& bias_2, at::IntArrayRef far, int64_t skips, at::IntArrayRef panels) {
  const int64_t layers = past.size(0), channels = past.size(1), width = padded(channels, PANEL);
  const int64_t count_far = std::count(far.begin(), far.end(), 1);
  std::vector<float> both(2 * width), taps(2 * width), now(width), gated(layers * width), total(padded(skips, PANEL));
  std::vector<float> hidden(padded(bias_1.numel(), WIDE)), found(padded(bias_2.numel(), WIDE));
  const int64_t of_layers = layers * 5 * width * width - count_far * 2 * width * width;
  const int64_t of_sums = (of_layers + total.size() * gated.size()) / PANEL * (COLUMN + 2);
  const int64_t of_ends = hidden.size() * total.size() + found.size() * hidden.size();
  TORCH_CHECK(panels == at::IntArrayRef({PANEL, WIDE}), "wavenet_pass: panels of another size");
  TORCH_CHECK(weights.numel() == of_sums + of_ends, "wavenet_pass: weights of another size");
  TORCH_CHECK(
      x.numel() == channels && static_cast<int64_t>(far.size()) == layers && from_past.numel() == count_far * 2 * width,
      "wavenet_pass: arguments of another size");

  at::Tensor inputs = at::empty_like(past), logits = at::empty_like(bias_2);
  const float *of_past = numbers(past), *known = numbers(from_past);
  float* of_inputs = inputs.mutable_data_ptr<float>();
  std::copy_n(numbers(x), channels, now.begin());
  std::copy_n(numbers(bias_1), bias_1.numel(), hidden.begin());
  std::copy_n(numbers(bias_2), bias_2.numel(), found.begin());

  Pass pass{numbers(weights)};
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::copy_n(now.begin(), channels, of_inputs + layer * channels);
    if (far[layer] == 1) {
      std::copy_n(known, 2 * width, both.begin());
      known += 2 * width;
      pass.product(both, now.data(), width);
    } else {
      std::fill(both.begin(), both.end(), 0.0f);
      std::copy_n(of_past + layer * channels, channels, taps.begin());
      std::copy(now.begin(), now.end(), taps.begin() + width);
      pass.product(both, taps.data(), 2 * width);
    }
    float* activations = &gated[layer * width];
    for (int64_t i = 0; i < width; i += LANES) {
      const Vector filter = Vector::loadu(&both[i]).tanh(), gate = Vector::loadu(&both[width + i]).tanh();
      at::vec::fmadd(filter, gate, filter).store(activations + i);  // twice the gated unit: see `GatedSteps`
    }
    pass.product(now, activations, width);
  }
  pass.product(total, gated.data(), gated.size());
  pass.product_of_positive(hidden, total);
  pass.product_of_positive(found, hidden);
  std::copy_n(found.begin(), logits.numel(), logits.mutable_data_ptr<float>());
  return {logits, inputs};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(earshot, library) {
  library.def(
      "wavenet_pass(Tensor weights, Tensor x, Tensor past, Tensor from_past, Tensor bias_1, Tensor bias_2, int[] far, "
      "int skips, int[] panels) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(earshot, CPU, library) { library.impl("wavenet_pass", wavenet_pass); }
