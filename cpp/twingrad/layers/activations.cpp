#include "twingrad/layers/activations.h"

#include "twingrad/layers/elu.h"
#include "twingrad/layers/gelu.h"
#include "twingrad/layers/gelu_tanh.h"
#include "twingrad/layers/hardtanh.h"
#include "twingrad/layers/leaky_relu.h"
#include "twingrad/layers/relu.h"
#include "twingrad/layers/selu.h"
#include "twingrad/layers/sigmoid.h"
#include "twingrad/layers/silu.h"
#include "twingrad/layers/softplus.h"
#include "twingrad/layers/softsign.h"
#include "twingrad/layers/tanh.h"

namespace twingrad::nn {
namespace {

template <typename Function>
std::unique_ptr<Layer> make() {
  return std::make_unique<Function>();
}

}  // namespace

const std::vector<ActivationEntry>& activations() {
  static const std::vector<ActivationEntry> entries = {
      {"relu", make<ReLU>, {0}},
      {"leaky_relu", make<LeakyReLU>, {0}},
      {"elu", make<ELU>, {}},
      {"selu", make<SELU>, {0}},
      {"gelu", make<GELU>, {}},
      {"gelu_tanh", make<GELUTanh>, {}},
      {"silu", make<SiLU>, {}},
      {"softplus", make<Softplus>, {}},
      {"sigmoid", make<Sigmoid>, {}},
      {"tanh", make<Tanh>, {}},
      {"hardtanh", make<Hardtanh>, {-1, 1}},
      {"softsign", make<Softsign>, {}},
  };
  return entries;
}

const ActivationEntry* find_activation(std::string_view name) {
  for (const auto& entry : activations()) {
    if (entry.name == name) {
      return &entry;
    }
  }
  return nullptr;
}

}  // namespace twingrad::nn
