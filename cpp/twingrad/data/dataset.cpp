#include "twingrad/data/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <future>
#include <iterator>
#include <map>
#include <optional>
#include <ranges>
#include <regex>
#include <utility>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/option_values.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad::data {

namespace fs = std::filesystem;

const std::vector<std::string> kFileNames{"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                          "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

namespace {

// The indices of the four files in kFileNames.
constexpr std::size_t kTrainImages = 0;
constexpr std::size_t kTrainLabels = 1;
constexpr std::size_t kTestImages = 2;
constexpr std::size_t kTestLabels = 3;
constexpr std::size_t kFileCount = 4;

constexpr int kImageRank = 3;
constexpr int kLabelRank = 1;
constexpr std::string_view kSynthetic = "synthetic";

}  // namespace

// ---- Names and directories -----------------------------------------------------------------------------

const std::vector<NamedDataset>& named_datasets() {
  static const std::vector<NamedDataset> datasets{
      {"fashion-mnist",
       "Fashion-MNIST",
       {"T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
        "ankle boot"},
       {"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
       "sudo apt-get install dataset-fashion-mnist"},
      {"mnist",
       "MNIST",
       {},
       {"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
       "./script/fetch-data mnist"},
  };
  return datasets;
}

std::vector<fs::path> search_folders(std::string_view name) {
  // An empty variable counts as unset, as in the XDG specification.
  const auto variable = [](const char* key) -> std::optional<fs::path> {
    const char* value = std::getenv(key);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return fs::path(value);
  };

  std::vector<fs::path> folders;
  if (const auto twingrad_data = variable("TWINGRAD_DATA")) folders.push_back(*twingrad_data / name);
  folders.push_back(fs::path("data") / name);
  if (const auto data_home = variable("XDG_DATA_HOME")) {
    folders.push_back(*data_home / "twingrad" / name);
  } else if (const auto home = variable("HOME")) {
    folders.push_back(*home / ".local" / "share" / "twingrad" / name);
  }
  folders.push_back(fs::path("/usr/share/datasets") / name);
  return folders;
}

namespace {

std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const NamedDataset& dataset : named_datasets()) names.push_back(dataset.name);
  names.emplace_back(kSynthetic);
  return names;
}

const NamedDataset* find_named(std::string_view name) {
  const auto& datasets = named_datasets();
  const auto found = std::find_if(datasets.begin(), datasets.end(),
                                  [&](const NamedDataset& dataset) { return dataset.name == name; });
  return found == datasets.end() ? nullptr : &*found;
}

// ---- The four files ------------------------------------------------------------------------------------

using FilePaths = std::array<fs::path, kFileCount>;

/// The place of a data set.
struct Location {
  const NamedDataset* named = nullptr;  ///< null for a directory
  fs::path folder;
  FilePaths files;
};

/// What a file name says: "emnist-letters-test-images-idx3-ubyte.gz" is the file of test images in the data
/// set "emnist-letters", compressed.
struct FileName {
  std::string dataset;  ///< empty for the names of MNIST itself
  std::size_t file;     ///< its index in kFileNames
  bool is_compressed;
};

/// Recognizes the spellings of MNIST, EMNIST and QMNIST, in upper or lower case, with "." or "_" for "-".
std::optional<FileName> parse_file_name(std::string name) {
  if (name.starts_with('.')) return std::nullopt;  // hidden, such as ._train-images-idx3-ubyte by macOS
  static const std::regex pattern(
      "(?:(.+)-)?(train|t10k|test)-(?:(images)-idx3-ubyte|labels-idx(?:1-ubyte|2-int))(-gz)?");
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return c == '.' || c == '_' ? '-' : static_cast<char>(std::tolower(c));
  });
  std::smatch parts;
  if (!std::regex_match(name, parts, pattern)) return std::nullopt;
  const std::size_t first = parts[2] == "train" ? kTrainImages : kTestImages;
  return FileName{parts[1], first + (parts[3].matched ? 0 : 1), parts[4].matched};
}

/// The paths of the four files in a directory, plain rather than compressed rather than in a directory of the
/// same name; empty for a missing file. Several data sets may share the directory: this
/// is the one with MNIST's names, or else the only one. Throws UserError if it is not the only one.
FilePaths find_files(const fs::path& folder) {
  std::map<std::pair<int, fs::path>, FileName> found;  // in order of preference, then by path
  std::error_code ignored;                             // an inaccessible file counts as missing
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const fs::path name = entry.path().filename();
    const std::optional<FileName> parts = parse_file_name(name.string());
    const bool is_within = entry.is_directory(ignored);
    const fs::path path = is_within ? entry.path() / name : entry.path();
    if (parts && fs::is_regular_file(path, ignored)) {
      found.emplace(std::pair(is_within ? 2 : parts->is_compressed ? 1 : 0, path), *parts);
    }
  }
  std::map<std::string, FilePaths> datasets;
  for (const auto& [preference_and_path, name] : found) {
    fs::path& file = datasets[name.dataset][name.file];
    if (file.empty()) file = preference_and_path.second;
  }
  if (datasets.empty()) return {};
  if (datasets.size() > 1 && datasets.count("") == 0) {
    throw UserError(folder.string(),
                    fmt::format("expected the files of one data set, found those of {}",
                                fmt::join(std::views::keys(datasets), ", ")),
                    "move the four files of one of them to another directory");
  }
  return datasets.begin()->second;
}

std::vector<std::string> names_of_missing(const FilePaths& files) {
  std::vector<std::string> missing;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    if (files[i].empty()) missing.push_back(kFileNames[i]);
  }
  return missing;
}

[[noreturn]] void refuse_incomplete(const fs::path& folder, const std::vector<std::string>& missing,
                                    const std::string& remedy) {
  throw UserError(folder.string(),
                  fmt::format("expected the four files of a data set, each plain or with .gz, found no {}",
                              fmt::join(missing, ", no ")),
                  remedy);
}

/// The first search directory that contains all four files. If there is none, the error names a directory
/// with some of them, which most likely results from an interrupted download.
Location locate_named(const NamedDataset& named) {
  const std::string remedy = "get it with: " + named.how_to_get;
  const std::vector<fs::path> folders = search_folders(named.name);
  for (const fs::path& folder : folders) {
    const auto files = find_files(folder);
    if (names_of_missing(files).empty()) return {&named, folder, files};
  }
  for (const fs::path& folder : folders) {
    const auto missing = names_of_missing(find_files(folder));
    if (missing.size() < kFileCount) refuse_incomplete(folder, missing, remedy);
  }
  std::vector<std::string> searched(folders.size());
  std::transform(folders.begin(), folders.end(), searched.begin(),
                 [](const fs::path& folder) { return folder.string(); });
  throw UserError(named.name,
                  fmt::format("expected the data set in {}, found none", fmt::join(searched, " or ")),
                  remedy);
}

Location locate_folder(const std::string& written) {
  std::error_code ignored;  // an inaccessible path counts as missing
  const fs::path folder(written);
  const fs::file_type type = fs::status(folder, ignored).type();
  if (type == fs::file_type::directory) {
    const auto files = find_files(folder);
    const auto missing = names_of_missing(files);
    if (!missing.empty()) refuse_incomplete(folder, missing, "put all four there, or give another directory");
    return {nullptr, folder, files};
  }
  if (fs::exists(folder, ignored)) {
    throw UserError(written, "expected a directory, found a file",
                    "give the directory with the four files of a data set");
  }
  if (written.find('/') != std::string::npos) {
    throw UserError(written, "expected a directory, found nothing there", "check the path");
  }
  const std::vector<std::string> names = known_names();
  throw UserError(
      fmt::format("data set \"{}\"", written),
      fmt::format("expected a directory or one of {}, found neither", fmt::join(names, ", ")),
      "give the directory with the four files or one of these names" + suggestion(written, names));
}

/// Reads the four files in two threads. The training images, six sevenths of the bytes, take longer than the
/// other three files together.
std::array<IdxFile, kFileCount> read_files(const FilePaths& files) {
  std::array<IdxFile, kFileCount> contents;
  const auto read = [&](std::size_t i, int rank) { contents[i] = read_idx(files[i], rank); };
  // If this thread throws, the future's destructor waits for the other one; get() rethrows what that one
  // threw.
  std::future<void> others = std::async(std::launch::async, [&] {
    read(kTrainLabels, kLabelRank);
    read(kTestImages, kImageRank);
    read(kTestLabels, kLabelRank);
  });
  read(kTrainImages, kImageRank);
  others.get();
  return contents;
}

// ---- From files to a data set --------------------------------------------------------------------------

constexpr std::size_t kImageSizesOffset = 8;  // of height and width in an image file
constexpr std::size_t kLabelCountOffset = 4;  // in a label file
constexpr std::size_t kFirstLabelOffset = 8;

void require_labels_below(std::int64_t classes, const std::vector<std::uint8_t>& labels,
                          const fs::path& path) {
  const auto bad =
      std::find_if(labels.begin(), labels.end(), [&](std::uint8_t label) { return label >= classes; });
  if (bad == labels.end()) return;
  throw UserError(at_byte(path.string(), kFirstLabelOffset + static_cast<std::size_t>(bad - labels.begin())),
                  fmt::format("expected a label from 0 to {}, found {}", classes - 1, *bad),
                  "increase the number of classes if the data set has more, or fetch it again");
}

LabelledImages combine(IdxFile images, IdxFile labels, const fs::path& labels_path, std::int64_t classes) {
  const std::int64_t count = images.sizes[0];
  if (labels.sizes[0] != count) {
    throw UserError(
        at_byte(labels_path.string(), kLabelCountOffset),
        fmt::format("expected {} labels, as many as there are images, found {}", count, labels.sizes[0]),
        "use files from the same data set");
  }
  require_labels_below(classes, labels.bytes, labels_path);
  return {count, images.sizes[1], images.sizes[2], std::move(images.bytes), std::move(labels.bytes)};
}

void require_equal_image_sizes(const LabelledImages& train, const LabelledImages& test,
                               const fs::path& test_path) {
  if (train.height == test.height && train.width == test.width) return;
  throw UserError(at_byte(test_path.string(), kImageSizesOffset),
                  fmt::format("expected images of {} × {}, as in {}, found {} × {}", train.height,
                              train.width, kFileNames[kTrainImages], test.height, test.width),
                  "use files from the same data set");
}

/// A data set and the information about its files that `verify` needs.
struct LoadedFiles {
  Location location;
  std::array<std::string, kFileCount> sha256;
  Dataset dataset;
};

LoadedFiles load_files(const std::string& name_or_folder, std::int64_t classes) {
  require_class_count(classes);
  LoadedFiles loaded;
  const NamedDataset* named = find_named(name_or_folder);
  loaded.location = named != nullptr ? locate_named(*named) : locate_folder(name_or_folder);
  const FilePaths& paths = loaded.location.files;
  auto files = read_files(paths);

  Sha256 over_all;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    loaded.sha256[i] = files[i].sha256;
    over_all.update(files[i].sha256 + "\n");
  }

  Dataset& dataset = loaded.dataset;
  dataset.name = named != nullptr ? named->name : name_or_folder;
  dataset.title = named != nullptr ? named->title : name_or_folder;
  dataset.location = loaded.location.folder.string();
  dataset.classes = classes;
  dataset.train =
      combine(std::move(files[kTrainImages]), std::move(files[kTrainLabels]), paths[kTrainLabels], classes);
  dataset.test =
      combine(std::move(files[kTestImages]), std::move(files[kTestLabels]), paths[kTestLabels], classes);
  require_equal_image_sizes(dataset.train, dataset.test, paths[kTestImages]);
  dataset.sha256 = over_all.hex_digest();
  return loaded;
}

/// The data set with the published checksums to compare with: the named data set or, for a directory, the
/// named data set that shares at least one file with it.
const NamedDataset* find_published(const LoadedFiles& loaded) {
  if (loaded.location.named != nullptr) return loaded.location.named;
  for (const NamedDataset& dataset : named_datasets()) {
    for (std::size_t i = 0; i < kFileCount; ++i) {
      if (dataset.sha256[i] == loaded.sha256[i]) return &dataset;
    }
  }
  return nullptr;
}

}  // namespace

void require_class_count(std::int64_t classes) {
  constexpr std::int64_t kMostClasses = 256;  // a label is a byte
  if (classes >= 1 && classes <= kMostClasses) return;
  throw UserError("number of classes", fmt::format("expected 1 to {}, found {}", kMostClasses, classes),
                  "give the number of classes of the data set");
}

std::vector<std::string> class_names(const std::string& dataset) {
  const NamedDataset* named = find_named(dataset);
  return named != nullptr ? named->class_names : std::vector<std::string>();
}

Dataset load(const std::string& name_or_folder, std::int64_t classes) {
  if (name_or_folder == kSynthetic) return synthetic(1, 2000, 500, classes);
  return load_files(name_or_folder, classes).dataset;
}

std::vector<FileVerdict> verify(const std::string& name_or_folder, std::int64_t classes) {
  if (name_or_folder == kSynthetic) {
    throw UserError(name_or_folder, "expected a data set of files, found a generated one",
                    "there is nothing to verify; give another data set");
  }
  const LoadedFiles loaded = load_files(name_or_folder, classes);
  const NamedDataset* published = find_published(loaded);
  std::vector<FileVerdict> verdicts;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    const bool known = published != nullptr;
    const bool matches = known && published->sha256[i] == loaded.sha256[i];
    verdicts.push_back({loaded.location.files[i].string(), loaded.sha256[i], known, matches});
  }
  return verdicts;
}

void hold_out(Dataset& dataset, std::int64_t count) {
  LabelledImages& train = dataset.train;
  if (count < 1 || count >= train.count) {
    throw UserError("--hold-out",
                    fmt::format("expected a number from 1 to {}, found {}", train.count - 1, count),
                    fmt::format("keep some of the {} training images for training", train.count));
  }
  dataset.title += fmt::format(" with {} training images held out for testing", count);
  const std::int64_t kept = train.count - count;
  const std::int64_t first_byte = kept * train.height * train.width;
  dataset.test = {.count = count,
                  .height = train.height,
                  .width = train.width,
                  .pixels = {train.pixels.begin() + first_byte, train.pixels.end()},
                  .labels = {train.labels.begin() + kept, train.labels.end()}};
  train.pixels.resize(static_cast<std::size_t>(first_byte));
  train.labels.resize(static_cast<std::size_t>(kept));
  train.count = kept;
}

}  // namespace twingrad::data
