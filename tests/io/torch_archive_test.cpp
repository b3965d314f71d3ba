#include "twingrad/io/torch_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "../support/archives.h"
#include "../support/refusal.h"
#include "twingrad/io/input_file.h"

namespace twingrad::torch_archive_test {

using namespace ::testing;
using namespace twingrad::testing;

constexpr std::int64_t kLargest = INT64_MAX;

/// An archive with this pickle and a storage "0".
std::string archive_of(const std::string& instructions, const std::string& storage_bytes,
                       const std::string& version = "3\n") {
  return zip_of({{"archive/data.pkl", pickled(instructions)},
                 {"archive/data/0", storage_bytes},
                 {"archive/version", version}});
}

/// An archive with a tensor "w" in a storage of six float32.
std::string archive_with(std::int64_t offset, const std::vector<std::int64_t>& shape,
                         const std::vector<std::int64_t>& strides) {
  return archive_of(dict(text("w") + tensor(storage("FloatStorage", 6), offset, shape, strides)),
                    "aaaabbbbccccddddeeeeffff");
}

std::vector<StoredTensor> find(const std::string& file) {
  return find_tensors_of_torch_archive(file, "f.pt");
}
std::string refusal(const std::string& file) {
  return refusal_of([&] { find(file); });
}

std::string elements(const std::string& file) {
  const StoredTensor tensor = find(file).at(0);
  std::string copy(byte_size_of(tensor.shape, tensor.type).value(), '?');
  copy_elements(tensor, file, copy.data());
  return copy;
}

/// The content of a file saved by Python.
std::string python_file(const std::string& name) { return read_whole_file(TWINGRAD_WEIGHT_FILES "/" + name); }

// ---- Reading -------------------------------------------------------------------------------------------

TEST(TorchArchive, FindsATensor) {
  const std::string file = archive_with(1, {2, 2}, {2, 1});
  const std::uint64_t begin = file.find("aaaa") + 4;
  EXPECT_THAT(find(file),
              ElementsAre(StoredTensor{"w", ElementType::kFloat32, {2, 2}, {2, 1}, begin, begin + 16}));
  EXPECT_EQ(elements(file), "bbbbccccddddeeee");
}

TEST(TorchArchive, ReadsViewsOfOneStorage) {
  EXPECT_EQ(elements(archive_with(0, {3, 2}, {1, 3})), "aaaaddddbbbbeeeeccccffff");
  EXPECT_EQ(elements(archive_with(1, {2}, {3})), "bbbbeeee");
  EXPECT_EQ(elements(archive_with(5, {}, {})), "ffff");
  EXPECT_EQ(elements(archive_with(5, {3}, {0})), "ffffffffffff");
  EXPECT_EQ(elements(archive_with(6, {0, 3}, {3, 1})), "");
  EXPECT_EQ(elements(archive_with(0, {1, 6}, {kLargest, 1})), "aaaabbbbccccddddeeeeffff");
}

TEST(TorchArchive, ReadsAnArchiveWithoutZip64AndWithByteOrder) {
  const std::string file = make_archive({{"weights/data.pkl", pickled(dict(text("w") + two_floats()))},
                                         {"weights/.format_version", "1"},
                                         {"weights/.storage_alignment", "64"},
                                         {"weights/byteorder", "little"},
                                         {"weights/data/0", "aaaabbbb"},
                                         {"weights/version", "3\n"},
                                         {"weights/.data/serialization_id", "0123"}},
                                        false)
                               .bytes;
  EXPECT_EQ(elements(file), "aaaabbbb");
}

TEST(TorchArchive, ReadsAnArchiveWithoutTensors) {
  EXPECT_THAT(find(zip_of({{"a/data.pkl", pickled("}")}, {"a/version", "3"}})), IsEmpty());
  EXPECT_THAT(find(python_file("no_tensors.pt")), IsEmpty());
}

TEST(TorchArchive, FindsTensorsSavedByPython) {
  const std::vector<StoredTensor> tensors = find(python_file("state_dict.pt"));
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "weight");
  EXPECT_THAT(tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(tensors[0].begin % 64, 0U);
  EXPECT_EQ(tensors[1].name, "bias");
  EXPECT_THAT(tensors[1].shape, ElementsAre(2));
}

TEST(TorchArchive, RefusesPythonFilesOtherThanStateDicts) {
  EXPECT_THAT(refusal(python_file("hostile.pt")),
              HasSubstr("data.pkl: byte 18: expected tensors and no code, found a call of posix.system; "));
  EXPECT_THAT(refusal(python_file("module.pt")),
              HasSubstr("found a call of torch.nn.modules.linear.Linear; save only the tensors"));
  EXPECT_THAT(refusal(python_file("hostile_checkpoint.pt")), HasSubstr("found a call of posix.system; "));
}

// ---- The archive ---------------------------------------------------------------------------------------

TEST(TorchArchive, RefusesOtherFiles) {
  EXPECT_THAT(refusal(""), StartsWith("f.pt: byte 0: expected the end record of a ZIP archive"));
}

TEST(TorchArchive, RefusesOtherArchives) {
  EXPECT_THAT(refusal(zip_of({{"text", "a"}})),
              HasSubstr("entry \"text\": expected a name in one top-level directory"));
  EXPECT_THAT(refusal(zip_of({{"a/version", "3"}, {"b/data.pkl", pickled("}")}})),
              HasSubstr("entry \"b/data.pkl\": expected a name in one top-level directory"));
  EXPECT_THAT(refusal(zip_of({})),
              HasSubstr("f.pt: expected an archive with \"version\", as torch.save writes it, found none"));
  EXPECT_THAT(refusal(zip_of({{"a/version", "3"}, {"a/b/data.pkl", pickled("}")}})),
              HasSubstr("expected an archive with \"data.pkl\""));
}

TEST(TorchArchive, RefusesCompressedEntriesThatItReads) {
  const std::string pickle = pickled(dict(text("w") + two_floats()));
  for (const std::string compressed : {"data.pkl", "data/0", "version", "byteorder", "code/a\n.py"}) {
    std::vector<ArchiveEntry> entries = {{"a/data.pkl", pickle},
                                         {"a/data/0", "aaaabbbb"},
                                         {"a/version", "3"},
                                         {"a/byteorder", "little"},
                                         {"a/code/a\n.py", "class Module(Module):"}};
    for (ArchiveEntry& entry : entries) entry.method = entry.name == "a/" + compressed ? 8 : 0;
    if (compressed == "code/a\n.py") {
      EXPECT_EQ(elements(zip_of(entries)), "aaaabbbb");
    } else {
      EXPECT_EQ(refusal(zip_of(entries)),
                "f.pt: entry \"a/" + compressed +
                    "\": expected a stored entry, as torch.save writes it, found one "
                    "compressed by method 8; save it again with torch.save");
    }
  }
}

TEST(TorchArchive, RefusesUnknownVersions) {
  for (const std::string version : {"0", "11", "-1", "", "\n", "three", "3x", "99999999999", "3 ", " 3"}) {
    EXPECT_THAT(refusal(archive_of(dict(text("w") + two_floats()), "aaaabbbb", version)),
                HasSubstr("expected version 1 to 10 of the format, found \""))
        << version;
  }
}

TEST(TorchArchive, RefusesBigEndianNumbers) {
  EXPECT_THAT(refusal(zip_of({{"a/data.pkl", pickled("}")}, {"a/version", "3"}, {"a/byteorder", "big"}})),
              HasSubstr("expected little-endian numbers, found \"big\""));
}

TEST(TorchArchive, RefusesADamagedStorage) {
  std::string file = archive_with(0, {6}, {1});
  file[file.find("cccc")] = 'd';
  EXPECT_THAT(refusal(file), HasSubstr("entry \"archive/data/0\": expected bytes with the checksum"));
}

// ---- Storages and views --------------------------------------------------------------------------------

TEST(TorchArchive, RefusesAMissingStorage) {
  EXPECT_THAT(
      refusal(archive_of(dict(text("w") + tensor(storage("FloatStorage", 2, "1"), 0, {2}, {1})), "aaaabbbb")),
      HasSubstr("expected an archive with \"data/1\""));
  EXPECT_THAT(refusal(archive_of(dict(text("w") + tensor(storage("FloatStorage", 2, "../0\n"), 0, {2}, {1})),
                                 "aaaabbbb")),
              HasSubstr("expected an archive with \"data/../0\\x0a\""));
}

TEST(TorchArchive, RefusesAStorageOfAnotherSize) {
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{1}, std::int64_t{3}, std::int64_t{-2},
                                  kLargest, std::int64_t{1} << 62}) {
    EXPECT_THAT(
        refusal(archive_of(dict(text("w") + tensor(storage("FloatStorage", size), 0, {0}, {1})), "aaaabbbb")),
        HasSubstr("tensor \"w\": expected a storage of " + std::to_string(size) +
                  " F32, found one of 8 bytes"))
        << size;
  }
  EXPECT_THAT(refusal(archive_of(dict(text("w") + two_floats()), "aaaabbbbc")),
              HasSubstr("found one of 9 bytes"));
}

TEST(TorchArchive, RefusesElementsOutsideTheirStorage) {
  struct View {
    std::int64_t offset;
    std::vector<std::int64_t> shape, strides;
  };
  for (const View& view : std::vector<View>{{1, {6}, {1}},
                                            {6, {}, {}},
                                            {kLargest, {}, {}},
                                            {-1, {2}, {1}},
                                            {0, {7}, {1}},
                                            {0, {2}, {6}},
                                            {0, {2, 3}, {4, 1}},
                                            {0, {2, 2}, {kLargest, kLargest}},
                                            {0, {3}, {kLargest}},
                                            {kLargest, {2}, {kLargest}},
                                            {2, {2}, {kLargest - 1}}}) {
    EXPECT_THAT(refusal(archive_with(view.offset, view.shape, view.strides)),
                HasSubstr("tensor \"w\": expected elements within its storage of 6, found one outside;"))
        << view.offset;
  }
}

TEST(TorchArchive, RefusesNegativeStrides) {
  EXPECT_THAT(refusal(archive_with(5, {2}, {-1})), HasSubstr("expected strides ≥ 0, found -1"));
  EXPECT_THAT(refusal(archive_with(0, {1, 2}, {INT64_MIN, 1})), HasSubstr("expected strides ≥ 0"));
}

TEST(TorchArchive, RefusesInvalidShapes) {
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{-1, 2}, {kLargest, kLargest}, {INT64_MIN, 0}, {0, kLargest}}) {
    EXPECT_THAT(refusal(archive_with(0, shape, {1, 1})),
                HasSubstr("tensor \"w\": expected a shape of at most 64 sizes ≥ 0"))
        << shape[0];
  }
}

TEST(TorchArchive, RefusesViewsMuchLargerThanTheFile) {
  EXPECT_THAT(
      refusal(archive_with(0, {1'000'000, 1'000'000}, {0, 0})),
      HasSubstr("tensor \"w\": expected tensors that repeat the file's bytes at most 16 times, found more"));
  const std::string file = archive_with(0, {1}, {0});
  const auto fits = static_cast<std::int64_t>(4 * file.size());  // float32: 16 times the file
  EXPECT_EQ(find(archive_with(0, {fits}, {0})).size(), 1U);
  EXPECT_THAT(refusal(archive_with(0, {fits + 1}, {0})), HasSubstr("at most 16 times"));
}

TEST(TorchArchive, LimitsTheBytesOfAllTensorsTogether) {
  const std::string whole(1000, 'a');
  std::string items;
  for (int i = 0; i < 100; ++i)
    items += text(std::to_string(i)) +
             (i == 0 ? tensor(storage("ByteStorage", 1000), 0, {1000}, {1}) + "q\x01" : "h\x01");
  const std::string file = archive_of(dict(items), whole);
  ASSERT_LT(16 * file.size(), 100 * whole.size());
  EXPECT_THAT(refusal(file), HasSubstr("at most 16 times"));
}

TEST(TorchArchive, AcceptsTiedWeights) {
  EXPECT_EQ(find(archive_of(dict(text("a") + two_floats() + text("b") + two_floats()), "aaaabbbb")).size(),
            2U);
}

TEST(TorchArchive, SurvivesEveryChangeOfOneByteWithACorrectChecksum) {
  const std::string pickle = pickled(dict(text("w") + tensor(storage("FloatStorage", 6), 1, {2, 2}, {3, 1})));
  for (std::size_t offset = 0; offset < pickle.size(); ++offset) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string damaged = pickle;
      damaged[offset] = static_cast<char>(byte);
      const std::string file =
          zip_of({{"a/data.pkl", damaged}, {"a/data/0", "aaaabbbbccccddddeeeeffff"}, {"a/version", "3"}});
      try {
        for (const StoredTensor& found : find(file)) {
          EXPECT_LE(found.begin, found.end);
          EXPECT_LE(found.end, file.size());
          elements(file);
        }
      } catch (const UserError&) {
      }
    }
  }
}

}  // namespace twingrad::torch_archive_test
