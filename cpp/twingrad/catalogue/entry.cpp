#include "twingrad/catalogue/entry.h"

#include <cmath>

namespace twingrad::catalogue {

HandWritten of_layer(std::function<std::unique_ptr<nn::Layer>(const std::vector<nn::Parameter>&)> make) {
  struct State {
    std::unique_ptr<nn::Layer> layer;
    std::vector<nn::Parameter> parameters;
  };
  const auto state = std::make_shared<State>();
  return {.forward =
              [state, make = std::move(make)](const Tensors& inputs) {
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
                for (const nn::Parameter& parameter : state->parameters) {
                  grads.push_back(parameter.grad);
                }
                return grads;
              }};
}

HandWritten of_loss(std::function<std::unique_ptr<nn::Loss>(const Tensors& inputs)> make) {
  const auto loss = std::make_shared<std::unique_ptr<nn::Loss>>();
  return {.forward =
              [loss, make = std::move(make)](const Tensors& inputs) {
                *loss = make(inputs);
                return (*loss)->forward(inputs[0].detach(), inputs[1]);
              },
          .backward = [loss](const Tensor& grad_y) { return Tensors{(*loss)->backward(grad_y)}; }};
}

Tensors with_first(const Tensors& grads, const Tensor& first) {
  Tensors changed = grads;
  changed[0] = first;
  return changed;
}

}  // namespace twingrad::catalogue
