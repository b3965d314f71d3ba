#include "twingrad/io/tensor_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn.h>
#include <torch/serialize.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "../support/archives.h"
#include "../support/refusal.h"
#include "../support/temporary_folder.h"
#include "twingrad/io/input_file.h"

namespace twingrad::tensor_file_test {

using namespace ::testing;
using namespace twingrad::testing;
namespace fs = std::filesystem;

/// Round trips through the content of a file.
TensorFile through_safetensors(const TensorFile& file) {
  return parse_safetensors(safetensors_of(file), "f");
}
TensorFile through_torch_archive(const TensorFile& file) {
  return parse_torch_archive(torch_archive_of(file), "f");
}

void expect_same(const TensorFile& actual, const TensorFile& expected) {
  ASSERT_EQ(actual.tensors.size(), expected.tensors.size());
  for (std::size_t i = 0; i < actual.tensors.size(); ++i) {
    const NamedTensor& a = actual.tensors[i];
    const NamedTensor& e = expected.tensors[i];
    EXPECT_EQ(a.name, e.name);
    EXPECT_EQ(a.tensor.scalar_type(), e.tensor.scalar_type()) << e.name;
    EXPECT_EQ(a.tensor.sizes(), e.tensor.sizes()) << e.name;
    EXPECT_TRUE(a.tensor.is_contiguous()) << e.name;
    EXPECT_TRUE(at::equal(a.tensor, e.tensor)) << e.name;
  }
}

/// In both formats.
void expect_round_trip(const std::vector<NamedTensor>& tensors) {
  expect_same(through_safetensors({tensors, {}}), {tensors, {}});
  expect_same(through_torch_archive({tensors, {}}), {tensors, {}});
}

at::Tensor counted() { return at::arange(6, at::kFloat).reshape({2, 3}); }

TensorFile read_python_file(const std::string& name) {
  return read_tensor_file(TWINGRAD_WEIGHT_FILES "/" + name);
}

// ---- Round trips ---------------------------------------------------------------------------------------

TEST(TensorFile, KeepsNamesOrderAndValues) {
  expect_round_trip(
      {{"2.weight", counted()}, {"0.bias", at::ones({3})}, {"größe\n", at::zeros({1})}, {"", at::ones({1})}});
}

TEST(TensorFile, KeepsEveryDtype) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                                     at::kShort, at::kChar, at::kByte, at::kBool}) {
    expect_round_trip({{"w", counted().to(dtype)}});
  }
}

TEST(TensorFile, KeepsEveryBitOfFloats) {
  const double inf = std::numeric_limits<double>::infinity();
  const at::Tensor odd =
      at::tensor({-0.0, inf, -inf, std::numeric_limits<double>::denorm_min(), 0.1}, at::kDouble);
  expect_round_trip({{"w", odd}});
  const at::Tensor nan = at::tensor({std::numeric_limits<double>::quiet_NaN()}, at::kDouble);
  for (const TensorFile& read :
       {through_safetensors({{{"w", nan}}, {}}), through_torch_archive({{{"w", nan}}, {}})}) {
    EXPECT_TRUE(at::equal(read.tensors.at(0).tensor.view(at::kLong), nan.view(at::kLong)));
  }
}

TEST(TensorFile, KeepsScalarsAndEmptyTensors) {
  expect_round_trip({{"scalar", at::scalar_tensor(3.5)},
                     {"no rows", at::empty({0, 3})},
                     {"none", at::empty({0})},
                     {"no columns", at::empty({2, 0, 5})}});
}

TEST(TensorFile, KeepsAnyNumberOfTensors) {
  expect_round_trip({});
  // A pickle has special instructions for tuples of up to three.
  expect_round_trip({{"a", counted()}});
  expect_round_trip({{"a", counted()}, {"b", counted()}, {"c", counted()}});
  std::vector<NamedTensor> tensors;
  for (int i = 0; i < 1000; ++i) tensors.push_back({"layer" + std::to_string(i), at::full({2}, i, at::kInt)});
  expect_round_trip(tensors);
}

TEST(TensorFile, KeepsTheElementsOfViews) {
  const at::Tensor whole = counted();
  expect_round_trip({{"transposed", whole.t()},
                     {"column", whole.select(1, 1)},
                     {"row", whole[1]},
                     {"repeated", whole[0].expand({4, 3})}});
}

TEST(TensorFile, WritesOnlyTheElementsOfAView) {
  const at::Tensor whole = at::zeros({10'000, 3});
  const TensorFile row{{{"row", whole[500]}}, {}};
  EXPECT_LT(safetensors_of(row).size(), whole.nbytes() / 10);
  EXPECT_LT(torch_archive_of(row).size(), whole.nbytes() / 10);
}

TEST(TensorFile, WritesParametersWithoutTheirGraph) {
  const at::Tensor parameter = counted().requires_grad_();
  for (const TensorFile& read : {through_safetensors({{{"w", parameter * 2}}, {}}),
                                 through_torch_archive({{{"w", parameter * 2}}, {}})}) {
    EXPECT_TRUE(at::equal(read.tensors.at(0).tensor, counted() * 2));
    EXPECT_FALSE(read.tensors.at(0).tensor.requires_grad());
  }
}

TEST(TensorFile, KeepsMetadataInSafetensors) {
  EXPECT_THAT(through_safetensors({{}, {{"format", "pt"}, {"spec", "784-128-10\n"}}}).metadata,
              ElementsAre(Pair("format", "pt"), Pair("spec", "784-128-10\n")));
}

TEST(TensorFile, WritesTheSameBytesForTheSameTensors) {
  const TensorFile file{{{"a", counted()}, {"b", at::ones({2})}}, {{"k", "v"}}};
  EXPECT_EQ(safetensors_of(file), safetensors_of(file));
  EXPECT_EQ(torch_archive_of(file), torch_archive_of(file));
}

TEST(TensorFile, WritesExactlyTheFormat) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(safetensors_of({{{"w", at::tensor({1.0F, -2.0F}).reshape({1, 2})}}, {{"format", "pt"}}}),
            u64(padded.size()) + padded + u32(0x3f800000) + u32(0xc0000000));
}

TEST(TensorFile, OwnsItsMemory) {
  std::string content = safetensors_of({{{"w", counted()}}, {}});
  const TensorFile read = parse_safetensors(content, "f");
  content.assign(content.size(), 'x');
  EXPECT_TRUE(at::equal(read.tensors.at(0).tensor, counted()));
}

// ---- Files for LibTorch --------------------------------------------------------------------------------

TEST(TensorFile, IsADictForPickleLoad) {
  const TensorFile file{
      {{"2.weight", counted()}, {"0.bias", at::ones({3}, at::kDouble)}, {"n", at::scalar_tensor(7)}}, {}};
  const std::string content = torch_archive_of(file);
  const auto loaded = torch::pickle_load({content.begin(), content.end()}).toGenericDict();
  ASSERT_EQ(loaded.size(), 3U);
  for (const NamedTensor& named : file.tensors) {
    const at::Tensor tensor = loaded.at(named.name).toTensor();
    EXPECT_EQ(tensor.scalar_type(), named.tensor.scalar_type());
    EXPECT_TRUE(at::equal(tensor, named.tensor)) << named.name;
  }
}

// ---- Files from LibTorch -------------------------------------------------------------------------------

/// What torch::save writes.
template <typename Value>
TensorFile saved(const Value& value) {
  std::ostringstream stream;
  torch::save(value, stream);
  return parse_torch_archive(stream.str(), "f");
}

/// A module with a batch normalization, which has buffers, and a module without tensors.
struct NamedLayersImpl : torch::nn::Module {
  NamedLayersImpl() {
    register_module("fc1", fc1);
    register_module("norm", norm);
    register_module("rest", rest);
  }
  torch::nn::Linear fc1{3, 4};
  torch::nn::BatchNorm1d norm{4};
  torch::nn::Sequential rest{torch::nn::ReLU(), torch::nn::Linear(4, 2)};
};
TORCH_MODULE(NamedLayers);

TEST(TensorFile, ReadsAModuleOfTorchSave) {
  const NamedLayers module;
  const TensorFile file = saved(module);
  std::size_t count = 0;
  for (const auto& all : {module->named_parameters(), module->named_buffers()}) {
    for (const auto& item : all) {
      const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                      [&](const NamedTensor& named) { return named.name == item.key(); });
      ASSERT_NE(found, file.tensors.end()) << item.key();
      EXPECT_TRUE(at::equal(found->tensor, item.value())) << item.key();
      ++count;
    }
  }
  EXPECT_EQ(file.tensors.size(), count);
  EXPECT_EQ(count, 9U);
  const torch::nn::Sequential sequential(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 2));
  std::vector<std::string> names;
  for (const NamedTensor& named : saved(sequential).tensors) names.push_back(named.name);
  EXPECT_THAT(names, ElementsAre("0.weight", "0.bias", "2.weight", "2.bias"));
}

// ---- Files from Python ---------------------------------------------------------------------------------

TEST(TensorFile, ReadsAStateDict) {
  const TensorFile expected{{{"weight", counted()}, {"bias", at::tensor({-1.0F, 0.5F})}}, {}};
  expect_same(read_python_file("state_dict.pt"), expected);
  expect_same(read_python_file("state_dict_torch_2.6.pt"), expected);  // with byte order and id
}

TEST(TensorFile, ReadsEveryProtocolOfPickle) {
  for (const char* name : {"protocol_3.pt", "protocol_4.pt", "protocol_5.pt"}) {
    expect_same(read_python_file(name), read_python_file("state_dict.pt"));
  }
}

TEST(TensorFile, ReadsTheStateDictInACheckpoint) {
  for (const char* name : {"checkpoint.pt", "training_checkpoint.pt"}) {
    expect_same(read_python_file(name), read_python_file("state_dict.pt"));
  }
}

TEST(TensorFile, ReadsAModuleOfTorchScript) {
  expect_same(read_python_file("torch_script.pt"),
              {{{"net.0.weight", counted()},
                {"net.0.bias", at::tensor({-1.0F, 0.5F})},
                {"net.1.weight", at::ones({2})},
                {"net.1.bias", at::zeros({2})},
                {"net.1.running_mean", at::zeros({2})},
                {"net.1.running_var", at::ones({2})},
                {"net.1.num_batches_tracked", at::scalar_tensor(0, at::kLong)}},
               {}});
}

TEST(TensorFile, ReadsEveryElementTypeOfPython) {
  expect_same(read_python_file("element_types.pt"),
              {{{"float64", at::tensor({0.1, -2.0}, at::kDouble)},
                {"half", at::tensor({0.5, -2.0}).to(at::kHalf)},
                {"bfloat16", at::tensor({0.5, -3.0}).to(at::kBFloat16)},
                {"int64", at::tensor({std::int64_t{1} << 40, std::int64_t{-1}})},
                {"uint8", at::tensor({0, 255}).to(at::kByte)},
                {"bool", at::tensor({1, 0}).to(at::kBool)}},
               {}});
}

TEST(TensorFile, ReadsViewsAndParametersOfPython) {
  const at::Tensor whole = counted();
  expect_same(read_python_file("views.pt"), {{{"whole", whole},
                                              {"transposed", whole.t()},
                                              {"column", whole.select(1, 1)},
                                              {"expanded", at::zeros({4})},
                                              {"scalar", at::scalar_tensor(5.0)},
                                              {"empty", at::empty({0, 3})},
                                              {"parameter", whole[1]}},
                                             {}});
}

// ---- Files ---------------------------------------------------------------------------------------------

TEST(TensorFile, IsWrittenByExtensionAndReadByContent) {
  const TemporaryFolder folder;
  const TensorFile file{{{"w", counted()}}, {}};
  for (const char* name : {"A.SAFETENSORS", "a.safetensors", "a.Pt", "a.PTH", "a.pth", "a.pt"}) {
    write_tensor_file(folder.path() / name, file);
    expect_same(read_tensor_file(folder.path() / name), file);
    fs::rename(folder.path() / name, folder.path() / "unnamed");
    expect_same(read_tensor_file(folder.path() / "unnamed"), file);
  }
  EXPECT_EQ(read_whole_file(folder.path() / "unnamed"), torch_archive_of(file));
}

TEST(TensorFile, RefusesOtherExtensions) {
  const TemporaryFolder folder;
  for (const char* name : {"a.bin", "a", "a.PTX", ".pt", "a.pt.gz"}) {
    EXPECT_THAT(
        refusal_of([&] { write_tensor_file(folder.path() / name, {}); }),
        AllOf(HasSubstr(name), HasSubstr("expected the file extension .safetensors, .pt or .pth, found \"")))
        << name;
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(TensorFile, LeavesAnExistingFileIfItCannotWrite) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a.safetensors";
  write_tensor_file(path, {{{"w", counted()}}, {}});
  EXPECT_THAT(refusal_of([&] {
                write_tensor_file(path, {{{"w", counted().to(at::kComplexFloat)}}, {}});
              }),
              AllOf(StartsWith(path.string()),
                    HasSubstr("tensor \"w\": expected real numbers or bool, found ComplexFloat")));
  expect_same(read_tensor_file(path), {{{"w", counted()}}, {}});
}

TEST(TensorFile, RefusesToWriteUnsupportedNamesAndDtypes) {
  for (const char* name : {"a.safetensors", "a.pt"}) {
    const auto refusal = [&](const std::vector<NamedTensor>& tensors) {
      const TemporaryFolder folder;
      return refusal_of([&] { write_tensor_file(folder.path() / name, {tensors, {}}); });
    };
    EXPECT_THAT(refusal({{"w", counted()}, {"w", counted()}}),
                AllOf(HasSubstr("\"w\": expected a unique name"), EndsWith("rename it")));
    EXPECT_THAT(refusal({{"\xff", counted()}}), AllOf(HasSubstr("\"\\xff\": expected"), HasSubstr("UTF-8")));
    EXPECT_THAT(refusal({{"w", counted().to(at::kComplexDouble)}}),
                HasSubstr("found ComplexDouble; convert it first"));
  }
}

TEST(TensorFile, RefusesADirectoryAndAMissingFile) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal_of([&] { read_tensor_file(folder.path()); }),
              HasSubstr("expected a file, found a directory; check the path"));
  EXPECT_THAT(refusal_of([&] { read_tensor_file(folder.path() / "none"); }),
              HasSubstr("none: expected a file, found nothing there"));
  EXPECT_THAT(refusal_of([&] { read_tensor_file("/dev/zero"); }),
              HasSubstr("expected a file, found a device or a socket;"));
}

std::string refusal_of_content(const std::string& content) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("f", content);
  return refusal_of([&] { read_tensor_file(path); });
}

TEST(TensorFile, RefusesOtherFiles) {
  EXPECT_THAT(refusal_of_content("hello, world"),
              HasSubstr("f: expected a safetensors file or a ZIP archive of torch.save, found neither; "));
  expect_refusals<refusal_of_content>({
      {"", "found an empty file; copy the file again"},
      {read_whole_file(TWINGRAD_WEIGHT_FILES "/before_1.6.pt"),
       "found a file in the format of PyTorch before 1.6; load it in Python and save it again"},
      {"\x80\x02}.", "found a bare pickle, as pickle.dump writes it; load it in Python"},
      {"\x80\x04\x95"s, "found a bare pickle"},
      {"version https://git-lfs.github.com/spec/v1\noid", "found a Git LFS pointer; fetch the file"},
      {"\x89HDF\r\n\x1a\n", "found an HDF5 file"},
      {"\x1f\x8b\x08", "found a file compressed with gzip"},
      {"<!DOCTYPE html>", "found an HTML page; download the file itself"},
      {"\xef\xbb\xbf \n<html>", "found an HTML page"},
      {" {\"a\": 1}", "found a JSON document"},
  });
}

// ---- Damaged content -----------------------------------------------------------------------------------

TEST(TensorFile, RefusesInvalidBools) {
  std::string content = safetensors_of({{{"w", at::tensor({1, 0}).to(at::kBool)}}, {}});
  content.back() = '\x02';
  EXPECT_THAT(refusal_of([&] { parse_safetensors(content, "f"); }),
              HasSubstr("f: tensor \"w\": expected 0 or 1 for each bool, found 2"));
  const std::string pickle = pickled(dict(text("w") + tensor(storage("BoolStorage", 1), 0, {1}, {1})));
  const std::string archive = zip_of({{"a/data.pkl", pickle}, {"a/data/0", "\xff"}, {"a/version", "3"}});
  EXPECT_THAT(refusal_of([&] { parse_torch_archive(archive, "f"); }),
              HasSubstr("expected 0 or 1 for each bool, found 255"));
}

}  // namespace twingrad::tensor_file_test
