#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "twingrad/data/idx.h"

namespace twingrad::data {

/// Images and labels as bytes. Pixels are converted when a batch is gathered (batches.h).
struct LabelledImages {
  std::int64_t count = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;  ///< [count, height, width], 0 … 255
  std::vector<std::uint8_t> labels;  ///< [count], each 0 … classes − 1
};

/// A data set: a training and a test part of equal image size.
struct Dataset {
  std::string name;      ///< "fashion-mnist", "mnist", "synthetic", or the directory it was read from
  std::string title;     ///< for display: "Fashion-MNIST", "synthetic (drawn from seed 1)", or the directory
  std::string location;  ///< the directory of the files; empty for synthetic data
  std::int64_t classes = 10;
  LabelledImages train;
  LabelledImages test;
  /// SHA-256 over the SHA-256 of the four unpacked files, each as 64 hexadecimal digits and a newline, in the
  /// order of kFileNames; for synthetic data over pixels and labels, the training part first.
  std::string sha256;
};

/// A data set with a known name.
struct NamedDataset {
  std::string name;
  std::string title;
  std::vector<std::string> class_names;  ///< empty if the classes are digits
  std::vector<std::string>
      sha256;              ///< published checksums of the four unpacked files, in the order of kFileNames
  std::string how_to_get;  ///< the exact command, for example "./script/fetch-data mnist"
};

/// The four files, each of which can also have the extension ".gz":
/// train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte. They are
/// also found in other spellings: train-images.idx3-ubyte, emnist-letters-test-images-idx3-ubyte,
/// qmnist-test-labels-idx2-int, and upper case.
extern const std::vector<std::string> kFileNames;

/// The names of the classes of a named data set; empty if they are digits or the data set is not known.
std::vector<std::string> class_names(const std::string& dataset);

/// The data sets known by name, except "synthetic".
const std::vector<NamedDataset>& named_datasets();

/// The directories that are searched for a named data set, in this order: $TWINGRAD_DATA/<name>, data/<name>
/// in the working directory, $XDG_DATA_HOME/twingrad/<name> (or ~/.local/share/twingrad/<name>), and
/// /usr/share/datasets/<name>, where Debian's packages install them.
std::vector<std::filesystem::path> search_folders(std::string_view name);

/// Throws UserError unless classes is 1 … 256.
void require_class_count(std::int64_t classes);

/// Loads a data set by name ("fashion-mnist", "mnist", or "synthetic", which is drawn from seed 1), or from a
/// directory that contains the four files, each plain or with ".gz". If both exist, the plain file is read.
/// Any text that contains a '/' or is not a known name is a directory. Two threads read the files in
/// parallel.
///
/// A name is looked up in search_folders; the first directory with all four files is used. Labels are 0 …
/// classes − 1, with classes from 1 to 256.
///
/// Throws UserError if the data set is not found (with the command that gets it), if read_idx refuses a file,
/// if the numbers of images and labels or the image sizes of the two parts differ, and for a label ≥ classes
/// (with its offset in the unpacked file).
Dataset load(const std::string& name_or_folder, std::int64_t classes);

/// Generates a small data set that can be learned: each class has a random smooth 28 × 28 prototype, and an
/// image is the prototype of its class mixed with a smaller share of another class's, plus noise, clipped to
/// 0 … 255. A linear classifier reaches 95 to 100 % test accuracy. The class counts differ by at most one
/// image. Intended for tests and for machines without data. The same seed gives the same bytes on every
/// machine (no std::*_distribution, whose output is not specified). Throws UserError for counts outside 1 …
/// 1,000,000 and classes outside 1 … 256.
Dataset synthetic(std::uint64_t seed, std::int64_t train_count = 2000, std::int64_t test_count = 500,
                  std::int64_t classes = 10);

/// Replaces the test images with the last `count` training images and removes those from the training part,
/// so that hyperparameters are not tuned on the test set. Throws UserError naming --hold-out unless 1 ≤ count
/// < number of training images.
void hold_out(Dataset& dataset, std::int64_t count);

/// The result of the verification of one file.
struct FileVerdict {
  std::string file;      ///< path
  std::string sha256;    ///< of the unpacked file
  bool known = false;    ///< a published checksum exists for this file
  bool matches = false;  ///< the file has this checksum
};

/// Loads the data set as `load` does and compares each of the four files with its published checksum: that of
/// the named data set or, for a directory, of the named data set that shares at least one file with it.
/// Throws UserError as `load` does, and for "synthetic", which has no files.
std::vector<FileVerdict> verify(const std::string& name_or_folder, std::int64_t classes);

}  // namespace twingrad::data
