#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/data/idx.h"

namespace twingrad::data {

/// Images and their labels, as bytes: an image becomes numbers only when a batch is gathered (batches.h).
struct LabelledImages {
  std::int64_t count = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;  ///< [count, height, width], 0 … 255
  std::vector<std::uint8_t> labels;  ///< [count], each 0 … classes − 1
};

/// A data set: a training and a test part of equal image size.
struct Dataset {
  std::string name;      ///< "fashion-mnist", "mnist", "synthetic", or the folder it was read from
  std::string title;     ///< for people: "Fashion-MNIST", "synthetic (drawn from seed 1)", or the folder
  std::string location;  ///< the folder of the files; empty for synthetic data
  std::int64_t classes = 10;
  std::vector<std::string> class_names;  ///< one a class: "T-shirt/top", … or "0", "1", …
  LabelledImages train;
  LabelledImages test;
  /// Over the sha256 of the four unpacked files, each as 64 hexadecimal digits and a newline, in the order of
  /// kFileNames; of drawn data over its pixels and labels, the training part first.
  std::string sha256;
};

/// What a named data set is and where it may be.
struct NamedDataset {
  std::string name;
  std::string title;
  std::vector<std::string> class_names;
  /// sha256 of the four unpacked files in the order of kFileNames: the published ones.
  std::vector<std::string> sha256;
  std::string how_to_get;  ///< the exact command, for example "./script/fetch-data mnist"
};

/// The four files, without the ending ".gz" that each may have:
/// train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte.
extern const std::vector<std::string> kFileNames;

/// What the classes of a data set are called, where they are more than digits: of fashion-mnist. Of all others none.
std::vector<std::string> class_names(const std::string& dataset);

/// The data sets known by name, "synthetic" not among them.
const std::vector<NamedDataset>& named_datasets();

/// The folders in which a named data set is looked for, in this order: $TWINGRAD_DATA/<name>, data/<name>
/// below the current folder, $XDG_DATA_HOME/twingrad/<name> (or ~/.local/share/twingrad/<name>), and
/// /usr/share/datasets/<name> where Debian's packages put them.
std::vector<std::filesystem::path> search_folders(std::string_view name);

/// Loads a data set by name ("fashion-mnist", "mnist"), or from the folder that holds the four files, each
/// plain or with ".gz"; where a file is there in both ways, the plain one is read. What contains a '/' or is
/// no known name is taken for a folder. "synthetic" is drawn from seed 1. The four files are read in parallel
/// by two threads.
///
/// A name is looked for in search_folders; the first folder that holds all four files is taken. The labels
/// may be 0 … classes − 1, with classes from 1 to 256; where a data set has fewer names for them, they are
/// called "0", "1", …
///
/// Throws UserError: no such data (with the exact command that gets it), a file that read_idx refuses, counts
/// of images and labels that disagree, image sizes of the two parts that disagree, a label that is not below
/// classes (with its offset in the unpacked file).
Dataset load(const std::string& name_or_folder, std::int64_t classes);

/// Draws a small learnable data set from the seed: each class has a random smooth 28 × 28 prototype, an image
/// is the prototype of its class mixed with less of another class's, plus noise, clipped to 0 … 255. A linear
/// classifier gets to 95 … 100 % of the test images right. The labels are equally frequent, up to one image.
/// For tests, and machines without data. The same seed gives the same bytes on every machine (no
/// std::*_distribution, whose output is not specified). Throws UserError for counts outside 1 … 1,000,000 and
/// classes outside 1 … 256.
Dataset synthetic(std::uint64_t seed, std::int64_t train_count = 2000, std::int64_t test_count = 500,
                  std::int64_t classes = 10);

/// Puts the last `count` training images in the place of the test images, out of the training: what is tuned on them is not
/// tuned on the test set. Throws UserError naming --hold-out unless 1 ≤ count < the number of training images.
void hold_out(Dataset& dataset, std::int64_t count);

/// The verdict on one file of a data set.
struct FileVerdict {
  std::string file;      ///< its path
  std::string sha256;    ///< of the unpacked file
  bool known = false;    ///< a published checksum exists for this file
  bool matches = false;  ///< and it is this one
};

/// Loads the data set completely (so that every error of `load` shows) and compares each of the four files
/// with the published checksum where there is one: those of a named data set; for a folder, those of the
/// named data set of which it holds at least one file unchanged. Throws UserError for "synthetic", which has
/// no files.
std::vector<FileVerdict> verify(const std::string& name_or_folder, std::int64_t classes);

}  // namespace twingrad::data
