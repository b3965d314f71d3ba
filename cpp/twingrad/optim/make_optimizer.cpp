#include "twingrad/optim/make_optimizer.h"

#include <stdexcept>

#include "twingrad/optim/adagrad.h"
#include "twingrad/optim/adam.h"
#include "twingrad/optim/rmsprop.h"
#include "twingrad/optim/sgd.h"

namespace twingrad::optim {

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options) {
  using Kind = OptimizerOptions::Kind;
  switch (options.kind) {
    case Kind::sgd:
      return std::make_unique<SGD>(SGDOptions{.lr = options.lr,
                                              .momentum = options.momentum,
                                              .dampening = options.dampening,
                                              .weight_decay = options.weight_decay,
                                              .nesterov = options.nesterov});
    case Kind::adam:
    case Kind::adamw:
      return std::make_unique<Adam>(AdamOptions{.lr = options.lr,
                                                .betas = {options.beta1, options.beta2},
                                                .eps = options.eps,
                                                .weight_decay = options.weight_decay,
                                                .decoupled = options.kind == Kind::adamw,
                                                .amsgrad = options.amsgrad});
    case Kind::rmsprop:
      return std::make_unique<RMSprop>(RMSpropOptions{.lr = options.lr,
                                                      .alpha = options.alpha,
                                                      .eps = options.eps,
                                                      .weight_decay = options.weight_decay,
                                                      .momentum = options.momentum,
                                                      .centered = options.centered});
    case Kind::adagrad:
      return std::make_unique<Adagrad>(
          AdagradOptions{.lr = options.lr,
                         .lr_decay = options.lr_decay,
                         .weight_decay = options.weight_decay,
                         .initial_accumulator_value = options.initial_accumulator_value,
                         .eps = options.eps});
  }
  throw std::logic_error("unknown optimizer kind");
}

}  // namespace twingrad::optim
