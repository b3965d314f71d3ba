#include "twingrad/catalogue/entry.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

namespace twingrad::catalogue {

ByHand of_layer(std::function<std::unique_ptr<Layer>(const std::vector<Parameter>&)> make) {
  struct State {
    std::unique_ptr<Layer> layer;
    std::vector<Parameter> parameters;
  };
  const auto state = std::make_shared<State>();
  return {.forward =
              [state, make](const Tensors& inputs) {
                state->parameters.clear();
                for (std::size_t i = 1; i < inputs.size(); ++i) {
                  const Tensor value = inputs[i].detach();
                  state->parameters.push_back({value, at::full_like(value, NAN)});
                }
                state->layer = make(state->parameters);
                return state->layer->forward(inputs[0].detach());
              },
          .backward =
              [state](const Tensor& grad_y) {
                Tensors grads = {state->layer->backward(grad_y)};
                for (const Parameter& parameter : state->parameters) {
                  grads.push_back(parameter.grad);
                }
                return grads;
              }};
}

ByHand of_loss(std::function<std::unique_ptr<Loss>(at::ScalarType)> make, const Tensor& target) {
  const auto loss = std::make_shared<std::unique_ptr<Loss>>();
  return {.forward =
              [=](const Tensors& inputs) {
                const at::ScalarType dtype = inputs[0].scalar_type();
                *loss = make(dtype);
                // Labels as floats have to be of the input's dtype; class indices stay integers.
                return (*loss)->forward(inputs[0].detach(),
                                        target.is_floating_point() ? target.to(dtype) : target);
              },
          .backward = [=](const Tensor& grad_y) { return Tensors{(*loss)->backward(grad_y)}; }};
}

Tensor draw(at::IntArrayRef shape, double scale) {
  static auto generator = at::make_generator<at::CPUGeneratorImpl>(20261123);
  return at::empty(shape, at::kDouble).normal_(0, 1, generator).mul_(scale);
}

}  // namespace twingrad::catalogue
