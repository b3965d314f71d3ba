#pragma once

#include <cstdint>
#include <string>

#include "twingrad/io/grey_image.h"

namespace twingrad::data {

/// How an image becomes the input of a network: as the images of its data set were made.
enum class Preparation {
  /// Scaled to the network's size, whatever its aspect ratio, and nothing else.
  none,

  /// A digit, drawn or photographed, light on dark or dark on light, as LeCun, Cortes and Burges made MNIST
  /// (http://yann.lecun.com/exdb/mnist). The ink is cut out along its bounding box, scaled, antialiased and
  /// with its aspect ratio kept, to fit into 20 × 20 of the 28 × 28 pixels, brightened until its lightest
  /// pixel is white, and moved by whole pixels so that its centre of mass is nearest to pixel (14, 14), but
  /// nothing leaves the image.
  ///
  /// Ink is what Otsu's threshold (A threshold selection method from gray-level histograms, 1979) parts from
  /// what most of the border belongs to, either in the image as it is or over a surface of second degree in y
  /// and x that is fitted to the background, for uneven light; in whichever it stands out by more deviations
  /// of the background. Its strength runs from black, half-way to the threshold, to white, its mean. The box
  /// holds what is of at least half strength, but for a five-hundredth on each of its sides: specks. Images
  /// of more than five times the network's size are first scaled down to that.
  mnist,

  /// A piece of clothing, as Xiao, Rasul and Vollgraf made Fashion-MNIST (arXiv:1708.07747, 2017, section 2):
  /// edges that are within 5 % of the background are trimmed, the longest edge is scaled to that of the
  /// network, the rest is background on both sides; negated if the background is light. The background is the
  /// median of the border and becomes black, its opposite white. Where the authors take every n-th pixel and
  /// then sharpen, this is antialiased.
  fashion_mnist,
};

/// The image as input of height × width pixels: light on dark.
///
/// For mnist and fashion_mnist, an image of this size with a dark border (its median is below 128) is taken
/// for one that is prepared, and stays as it is: so do all test images of both data sets. `name` stands for
/// the image in messages. Throws UserError for an image on which nothing stands out from the background.
GreyImage prepare(const GreyImage& image, Preparation preparation, std::int64_t height, std::int64_t width,
                  const std::string& name);

}  // namespace twingrad::data
