#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"

namespace twingrad {

/// The rows of the first layer's weights, one image per unit, side by side in a PNG file in base64: blue for
/// negative and orange for positive weights, white for 0, the same scale for all. At most kMostUnitImages:
/// those with the largest norms, in the order of the layer. For a report:
///
///   {"twin":…,"name":"0.weight","units":128,"shown":[3,…],"rows":4,"columns":10,"limit":0.31,
///    "width":…,"height":…,"png":"…"}
///
/// null if the images are too large to show, or if a weight is not finite.
nlohmann::ordered_json first_layer_images(const Twin& twin, const MlpSpec& spec, std::int64_t height,
                                          std::int64_t width);

constexpr std::int64_t kMostUnitImages = 40;

}  // namespace twingrad
