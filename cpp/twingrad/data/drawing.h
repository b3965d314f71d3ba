#pragma once

#include <cstdint>
#include <string>

#include "twingrad/io/grey_image.h"

namespace twingrad::data {

/// How an image is converted to a network's input: in the same way as the images of the data set were
/// created.
enum class Preparation {
  /// Only scaled to the size of the network's input, regardless of its aspect ratio.
  none,

  /// A digit, drawn or photographed, light on dark or dark on light, prepared as LeCun, Cortes and Burges
  /// prepared MNIST (http://yann.lecun.com/exdb/mnist). The ink is cropped to its bounding box, scaled with
  /// antialiasing and fixed aspect ratio to fit into 20 × 20 of the 28 × 28 pixels, brightened until its
  /// lightest pixel is white, and moved by whole pixels until its centre of mass is nearest to pixel (14, 14)
  /// without leaving the image.
  ///
  /// Otsu's threshold (A threshold selection method from gray-level histograms, 1979) separates ink from
  /// background. The background is the class of most border pixels. This is done twice: for the original
  /// image and, to correct uneven light, after subtracting a quadratic surface in y and x fitted to the
  /// background. The result with the larger contrast in standard deviations of the background is used. Ink
  /// strength ranges from black (halfway between background and threshold) to white (the mean of the ink).
  /// The bounding box contains pixels of at least half strength, except for specks: 0.2 % of them on each
  /// side. Images of more than five times the network's size are first scaled down to that size.
  mnist,

  /// An image for a network that was trained on another data set: prepared like a digit of MNIST, unless it
  /// is finished. A finished image may fill the network's input.
  other,

  /// A piece of clothing, prepared as Xiao, Rasul and Vollgraf prepared Fashion-MNIST (arXiv:1708.07747,
  /// 2017, section 2): edges within 5 % of the background are trimmed, the longest edge is scaled to the
  /// network's size, the shorter one is padded with background on both sides, and the image is negated if the
  /// background is light. The background is the median of the border. It becomes black. The end of the range
  /// towards which the image differs from it, white or black, becomes white. The authors take every n-th
  /// pixel and sharpen; this scales with antialiasing.
  fashion_mnist,
};

/// Converts the image to an input of height × width pixels, light on dark.
///
/// A finished image is not changed, so that the test images of a data set keep every pixel. It has the
/// network's size, light ink on a black background, and its ink is centred and as large as in the data set:
/// within 20 × 20 of 28 × 28 pixels for mnist, as large as the input for fashion_mnist. `name` identifies the
/// image in messages. Throws UserError for an image without contrast to its background.
GreyImage prepare(const GreyImage& image, Preparation preparation, std::int64_t height, std::int64_t width,
                  const std::string& name);

}  // namespace twingrad::data
