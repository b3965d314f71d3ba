#include "twingrad/data/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <future>
#include <iterator>
#include <optional>
#include <utility>

#include "twingrad/runtime/error.h"
#include "twingrad/runtime/nearest_name.h"
#include "twingrad/runtime/sha256.h"

namespace twingrad::data {

namespace fs = std::filesystem;

const std::vector<std::string> kFileNames{"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                          "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

namespace {

// The four files, by their place in kFileNames.
constexpr std::size_t kTrainImages = 0;
constexpr std::size_t kTrainLabels = 1;
constexpr std::size_t kTestImages = 2;
constexpr std::size_t kTestLabels = 3;
constexpr std::size_t kFileCount = 4;

constexpr int kImageRank = 3;
constexpr int kLabelRank = 1;
constexpr std::int64_t kMostClasses = 256;  // a label is a byte

constexpr std::string_view kSynthetic = "synthetic";

}  // namespace

std::vector<std::string> class_names(const std::string& dataset) {
  return dataset == "fashion-mnist"
             ? std::vector<std::string>{"T-shirt/top", "trouser", "pullover", "dress", "coat",
                                        "sandal",      "shirt",   "sneaker",  "bag",   "ankle boot"}
             : std::vector<std::string>();
}

// ---- Names and folders ---------------------------------------------------------------------------------

const std::vector<NamedDataset>& named_datasets() {
  static const std::vector<NamedDataset> datasets{
      {"fashion-mnist",
       "Fashion-MNIST",
       {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot"},
       {"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
       "sudo apt-get install dataset-fashion-mnist"},
      {"mnist",
       "MNIST",
       {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
       {"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
       "./script/fetch-data mnist"},
  };
  return datasets;
}

std::vector<fs::path> search_folders(std::string_view name) {
  // An empty variable counts as one that is not set, as the XDG specification has it.
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

/// What to advise to someone who wrote a name that is neither known nor a folder.
std::string suggest_name(const std::string& written) {
  const std::string nearest = nearest_name(written, known_names());
  return nearest.empty() ? "give one of these names, or the folder that holds the four files of a data set"
                         : fmt::format("did you mean {}?", nearest);
}

std::vector<std::string> class_names_for(const NamedDataset* named, std::int64_t classes) {
  const auto count = static_cast<std::size_t>(classes);
  if (named != nullptr && count <= named->class_names.size()) {
    return {named->class_names.begin(), named->class_names.begin() + classes};
  }
  std::vector<std::string> names;
  for (std::size_t label = 0; label < count; ++label) names.push_back(std::to_string(label));
  return names;
}

// ---- The four files ------------------------------------------------------------------------------------

/// Where a data set lies.
struct Location {
  const NamedDataset* named = nullptr;  ///< null for a folder
  fs::path folder;
  std::array<fs::path, kFileCount> files;
};

/// The four files in a folder, each plain or, where there is no plain one, with ".gz"; an empty path for each
/// that is missing.
std::array<fs::path, kFileCount> find_files(const fs::path& folder) {
  std::array<fs::path, kFileCount> files;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    for (const char* ending : {"", ".gz"}) {
      const fs::path candidate = folder / (kFileNames[i] + ending);
      std::error_code ignored;  // what can not be looked at is not there
      if (files[i].empty() && fs::exists(candidate, ignored)) files[i] = candidate;
    }
  }
  return files;
}

std::vector<std::string> names_of_missing(const std::array<fs::path, kFileCount>& files) {
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

/// The first search folder that holds all four files. A folder with some of them is only named when there is
/// no complete one: it is most likely what an interrupted download left.
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
                  fmt::format("expected the data set in {}, found it in none", fmt::join(searched, " or ")),
                  remedy);
}

Location locate_folder(const std::string& written) {
  std::error_code ignored;  // what can not be looked at is not there
  const fs::path folder(written);
  const fs::file_type type = fs::status(folder, ignored).type();
  if (type == fs::file_type::directory) {
    const auto files = find_files(folder);
    const auto missing = names_of_missing(files);
    if (!missing.empty()) refuse_incomplete(folder, missing, "put all four there, or give another folder");
    return {nullptr, folder, files};
  }
  if (fs::exists(folder, ignored)) {
    throw UserError(written, "expected a folder, found a file",
                    "give the folder that holds the four files of a data set");
  }
  if (written.find('/') != std::string::npos) {
    throw UserError(written, "expected a folder, found nothing there", "check the path");
  }
  throw UserError(
      fmt::format("data set \"{}\"", written),
      fmt::format("expected a folder or one of {}, found neither", fmt::join(known_names(), ", ")),
      suggest_name(written));
}

Location locate(const std::string& name_or_folder) {
  const NamedDataset* named = find_named(name_or_folder);
  return named != nullptr ? locate_named(*named) : locate_folder(name_or_folder);
}

/// Reads the four files with two threads. The training images, six sevenths of the bytes, keep one of them
/// busy for longer than the other three files the other.
std::array<IdxFile, kFileCount> read_files(const std::array<fs::path, kFileCount>& files) {
  std::array<IdxFile, kFileCount> contents;
  const auto read = [&](std::size_t i, int rank) { contents[i] = read_idx(files[i], rank); };
  // If this thread throws, the future's destructor waits for the other one; get() carries over what that one
  // throws.
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

std::string at_byte(const fs::path& path, std::size_t offset) {
  return fmt::format("{}: byte {}", path.string(), offset);
}

void require_labels_below(std::int64_t classes, const std::vector<std::uint8_t>& labels,
                          const fs::path& path) {
  const auto bad =
      std::find_if(labels.begin(), labels.end(), [&](std::uint8_t label) { return label >= classes; });
  if (bad == labels.end()) return;
  throw UserError(at_byte(path, kFirstLabelOffset + static_cast<std::size_t>(bad - labels.begin())),
                  fmt::format("expected a label from 0 to {}, found {}", classes - 1, *bad),
                  "ask for more classes if the data set has more, or else fetch it again");
}

LabelledImages combine(IdxFile images, IdxFile labels, const fs::path& labels_path, std::int64_t classes) {
  const std::int64_t count = images.sizes[0];
  if (labels.sizes[0] != count) {
    throw UserError(
        at_byte(labels_path, kLabelCountOffset),
        fmt::format("expected {} labels, as many as there are images, found {}", count, labels.sizes[0]),
        "take both files from the same data set");
  }
  require_labels_below(classes, labels.bytes, labels_path);
  return {count, images.sizes[1], images.sizes[2], std::move(images.bytes), std::move(labels.bytes)};
}

void require_equal_image_sizes(const LabelledImages& train, const LabelledImages& test,
                               const fs::path& test_path) {
  if (train.height == test.height && train.width == test.width) return;
  throw UserError(at_byte(test_path, kImageSizesOffset),
                  fmt::format("expected images of {} × {}, as in {}, found {} × {}", train.height,
                              train.width, kFileNames[kTrainImages], test.height, test.width),
                  "take both parts from the same data set");
}

void require_class_count(std::int64_t classes) {
  if (classes >= 1 && classes <= kMostClasses) return;
  throw UserError("number of classes", fmt::format("expected 1 to {}, found {}", kMostClasses, classes),
                  "give as many as the data set has");
}

void update(Sha256& sha256, std::string_view text) {
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  sha256.update(bytes);
}

/// A data set with what `verify` says of its files.
struct LoadedFiles {
  Location location;
  std::array<std::string, kFileCount> sha256;
  Dataset dataset;
};

LoadedFiles load_files(const std::string& name_or_folder, std::int64_t classes) {
  require_class_count(classes);
  LoadedFiles loaded;
  loaded.location = locate(name_or_folder);
  const auto& [named, folder, paths] = loaded.location;
  auto files = read_files(paths);

  Sha256 over_all;
  for (std::size_t i = 0; i < kFileCount; ++i) {
    loaded.sha256[i] = files[i].sha256;
    update(over_all, files[i].sha256 + "\n");
  }

  Dataset& dataset = loaded.dataset;
  dataset.name = named != nullptr ? named->name : name_or_folder;
  dataset.title = named != nullptr ? named->title : name_or_folder;
  dataset.location = folder.string();
  dataset.classes = classes;
  dataset.class_names = class_names_for(named, classes);
  dataset.train =
      combine(std::move(files[kTrainImages]), std::move(files[kTrainLabels]), paths[kTrainLabels], classes);
  dataset.test =
      combine(std::move(files[kTestImages]), std::move(files[kTestLabels]), paths[kTestLabels], classes);
  require_equal_image_sizes(dataset.train, dataset.test, paths[kTestImages]);
  dataset.sha256 = over_all.hex_digest();
  return loaded;
}

/// The published checksums that apply: those of the named data set, or, for a folder, those of the data set
/// of which it holds at least one file.
const NamedDataset* find_published(const LoadedFiles& loaded) {
  if (loaded.location.named != nullptr) return loaded.location.named;
  for (const NamedDataset& dataset : named_datasets()) {
    for (std::size_t i = 0; i < kFileCount; ++i) {
      if (dataset.sha256[i] == loaded.sha256[i]) return &dataset;
    }
  }
  return nullptr;
}

// ---- Drawn data ----------------------------------------------------------------------------------------

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the same
/// numbers on every machine, which the distributions of the standard library do not promise.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  /// A number from 0 to limit − 1, for a limit up to 2³². That some numbers are more likely than others by up
  /// to limit / 2³² does no harm here.
  std::uint64_t below(std::uint64_t limit) { return (next() >> 32) * limit >> 32; }

 private:
  std::uint64_t state_;
};

// Whole numbers throughout, none below 0: the drawn bytes can not depend on how a machine rounds.
constexpr std::size_t kSide = 28;
constexpr std::size_t kGridSide = 5;       // a prototype is smooth between 5 × 5 random values
constexpr std::uint64_t kLeastShare = 55;  // percent of an image that come from the prototype of its class
constexpr std::uint64_t kNoise = 80;       // each pixel is off by −80 … 80
constexpr std::uint64_t kBrightest = 255;

using Image = std::array<std::uint64_t, kSide * kSide>;

/// Where a pixel of a row or column lies between two points of the coarse grid.
struct GridPosition {
  explicit GridPosition(std::size_t pixel)
      : low(pixel * kCells / kSteps),
        high(std::min(low + 1, kGridSide - 1)),
        high_weight(pixel * kCells % kSteps),
        low_weight(kSteps - high_weight) {}

  static constexpr std::size_t kCells = kGridSide - 1;
  static constexpr std::size_t kSteps = kSide - 1;  // the sum of the two weights

  std::size_t low, high;
  std::uint64_t high_weight, low_weight;
};

/// Random values on a coarse grid, with bilinear interpolation between them.
Image draw_prototype(SplitMix64& random) {
  std::array<std::uint64_t, kGridSide * kGridSide> grid;
  for (std::uint64_t& value : grid) value = random.below(kBrightest + 1);

  Image prototype;
  for (std::size_t y = 0; y < kSide; ++y) {
    const GridPosition row(y);
    for (std::size_t x = 0; x < kSide; ++x) {
      const GridPosition column(x);
      const auto along_row = [&](std::size_t grid_row) {
        const std::uint64_t* values = grid.data() + grid_row * kGridSide;
        return column.low_weight * values[column.low] + column.high_weight * values[column.high];
      };
      prototype[y * kSide + x] =
          (row.low_weight * along_row(row.low) + row.high_weight * along_row(row.high)) /
          (GridPosition::kSteps * GridPosition::kSteps);
    }
  }
  return prototype;
}

/// The labels 0, 1, …, classes − 1, 0, … in random order: each class is there equally often, or once more.
std::vector<std::uint8_t> draw_labels(SplitMix64& random, std::size_t count, std::size_t classes) {
  std::vector<std::uint8_t> labels;
  for (std::size_t i = 0; i < count; ++i) labels.push_back(static_cast<std::uint8_t>(i % classes));
  // The shuffle of Fisher and Yates; what std::shuffle does is not specified.
  for (std::size_t left = count; left > 1; --left) std::swap(labels[left - 1], labels[random.below(left)]);
  return labels;
}

/// Appends an image: the prototype of its class, some of another one, and noise. Where the share of its own
/// prototype is near one half, the two classes are hard to tell apart, as with real data.
void draw_image(SplitMix64& random, const Image& own, const Image& other, std::vector<std::uint8_t>& pixels) {
  const std::uint64_t share = kLeastShare + random.below(101 - kLeastShare);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const std::uint64_t mixed = (share * own[i] + (100 - share) * other[i]) / 100;
    const std::uint64_t noisy = mixed + random.below(2 * kNoise + 1);  // too bright by kNoise
    pixels.push_back(static_cast<std::uint8_t>(std::clamp(noisy, kNoise, kBrightest + kNoise) - kNoise));
  }
}

LabelledImages draw_images(SplitMix64& random, const std::vector<Image>& prototypes, std::int64_t count) {
  const std::size_t classes = prototypes.size();
  LabelledImages drawn{count, kSide, kSide, {}, {}};
  drawn.labels = draw_labels(random, static_cast<std::size_t>(count), classes);
  drawn.pixels.reserve(drawn.labels.size() * kSide * kSide);
  for (const std::uint8_t label : drawn.labels) {
    // Any class but its own, as long as there is another one.
    const std::size_t other = classes == 1 ? label : (label + 1 + random.below(classes - 1)) % classes;
    draw_image(random, prototypes[label], prototypes[other], drawn.pixels);
  }
  return drawn;
}

void require_image_count(const char* part, std::int64_t count) {
  constexpr std::int64_t kMostImages = 1'000'000;
  if (count >= 1 && count <= kMostImages) return;
  throw UserError(fmt::format("synthetic {} images", part),
                  fmt::format("expected 1 to {}, found {}", kMostImages, count),
                  "give a number in this range");
}

}  // namespace

Dataset load(const std::string& name_or_folder, std::int64_t classes) {
  if (name_or_folder == kSynthetic) return synthetic(1, 2000, 500, classes);
  return load_files(name_or_folder, classes).dataset;
}

Dataset synthetic(std::uint64_t seed, std::int64_t train_count, std::int64_t test_count,
                  std::int64_t classes) {
  require_class_count(classes);
  require_image_count("training", train_count);
  require_image_count("test", test_count);

  SplitMix64 random(seed);
  std::vector<Image> prototypes;
  for (std::int64_t label = 0; label < classes; ++label) prototypes.push_back(draw_prototype(random));

  Dataset dataset;
  dataset.name = kSynthetic;
  dataset.title = fmt::format("synthetic (drawn from seed {})", seed);
  dataset.classes = classes;
  dataset.class_names = class_names_for(nullptr, classes);
  dataset.train = draw_images(random, prototypes, train_count);
  dataset.test = draw_images(random, prototypes, test_count);

  Sha256 over_all;
  for (const LabelledImages* part : {&dataset.train, &dataset.test}) {
    over_all.update(part->pixels);
    over_all.update(part->labels);
  }
  dataset.sha256 = over_all.hex_digest();
  return dataset;
}

std::vector<FileVerdict> verify(const std::string& name_or_folder, std::int64_t classes) {
  if (name_or_folder == kSynthetic) {
    throw UserError(name_or_folder, "expected a data set that lies in files, found one that is drawn",
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
    throw UserError(
        "--hold-out",
        "expected a number from 1 to " + std::to_string(train.count - 1) + ", found " + std::to_string(count),
        "leave some of the " + std::to_string(train.count) + " training images to train on");
  }
  dataset.title += " with " + std::to_string(count) + " training images held out for the test";
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
