#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "../support/refusal.h"
#include "twingrad/io/little_endian.h"
#include "twingrad/io/safetensors_header.h"

namespace twingrad::safetensors_test {

using namespace std::string_literals;
using namespace ::testing;
using namespace twingrad::testing;

std::string with_length(std::uint64_t length, const std::string& rest) {
  return write_little_endian<std::uint64_t>(length) + rest;
}

/// A file with this header and data_size bytes of data.
std::string file_of(const std::string& json, std::size_t data_size = 0) {
  return with_length(json.size(), json + std::string(data_size, '.'));
}

/// The JSON of a tensor.
std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}";
}

/// A file with a tensor "w", by default with the data of two float32.
std::string file_with(const std::string& tensor, std::size_t data_size = 8) {
  return file_of(R"({"w":)" + tensor + "}", data_size);
}

/// A file with two tensors and four bytes of data.
std::string file_with(const std::string& a, const std::string& b) {
  return file_of(R"({"a":)" + a + R"(,"b":)" + b + "}", 4);
}

SafetensorsHeader parse(const std::string& file) { return parse_safetensors_header(file, "f.safetensors"); }

std::string refusal(const std::string& file) {
  return refusal_of([&] { parse(file); });
}

StoredTensor empty_tensor(const std::string& name) { return {name, ElementType::kInt8, {0}, {1}, 0, 0}; }

// ---- Reading -------------------------------------------------------------------------------------------

TEST(Safetensors, ReadsTensors) {
  const std::string json =
      R"({"w":)" + tensor("F32", "2,3", "0,24") + R"(,"b":)" + tensor("F64", "1", "24,32") + "}";
  const SafetensorsHeader header = parse(file_of(json, 32));
  const std::uint64_t data = 8 + json.size();
  EXPECT_THAT(header.tensors,
              ElementsAre(StoredTensor{"w", ElementType::kFloat32, {2, 3}, {3, 1}, data, data + 24},
                          StoredTensor{"b", ElementType::kFloat64, {1}, {1}, data + 24, data + 32}));
  EXPECT_THAT(header.metadata, IsEmpty());
}

TEST(Safetensors, ReadsMetadata) {
  const SafetensorsHeader header = parse(file_of(R"({"__metadata__":{"format":"pt","":"ö"}})"));
  EXPECT_THAT(header.metadata, ElementsAre(Pair("", "ö"), Pair("format", "pt")));
  EXPECT_THAT(header.tensors, IsEmpty());
}

TEST(Safetensors, SortsTensorsByOffset) {
  const SafetensorsHeader header =
      parse(file_of(R"({"b":)" + tensor("U8", "1", "1,2") + R"(,"none":)" + tensor("U8", "0", "1,1") +
                        R"(,"a":)" + tensor("U8", "", "0,1") + "}",
                    2));
  ASSERT_THAT(header.tensors, SizeIs(3));
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[1].name, "none");
  EXPECT_EQ(header.tensors[2].name, "b");
}

TEST(Safetensors, ReadsEveryElementType) {
  for (const ElementFormat& format : kElementFormats) {
    const std::string size = std::to_string(format.size);
    const auto file = file_with(tensor(std::string(format.name), "", "0," + size), format.size);
    EXPECT_EQ(parse(file).tensors.at(0).type, format.type);
  }
}

TEST(Safetensors, AcceptsSpacesAfterAndWithinTheHeader) {
  EXPECT_THAT(parse(file_of("{}       ")).tensors, IsEmpty());
  const std::string spaces = "{ \"w\" : {\"shape\":[ ], \"data_offsets\" :[0 , 1],\n\"dtype\":\"I8\"} }  ";
  EXPECT_THAT(parse(file_of(spaces, 1)).tensors, SizeIs(1));
}

TEST(Safetensors, AcceptsAnyTextAsAName) {
  const std::string none = tensor("U8", "0", "0,0");
  const SafetensorsHeader header =
      parse(file_of(R"({"":)" + none + R"(,"a\u0000\n\"\ud83d\ude00":)" + none + "}"));
  EXPECT_EQ(header.tensors.at(0).name, "");
  EXPECT_EQ(header.tensors.at(1).name, "a\0\n\"\xf0\x9f\x98\x80"s);
}

// ---- Writing -------------------------------------------------------------------------------------------

TEST(Safetensors, ReadsWhatItWrites) {
  const SafetensorsHeader header{{{"0.weight", ElementType::kFloat32, {2, 3}, {3, 1}, 0, 0},
                                  {"none", ElementType::kFloat64, {0, 4}, {4, 1}, 0, 0},
                                  {"ö\n\"\0"s, ElementType::kBool, {}, {}, 0, 0}},
                                 {{"format", "pt"}, {"\"\\", "\x01"}}};
  const std::string written = write_safetensors_header(header);
  const SafetensorsHeader read = parse(written + std::string(25, '.'));
  EXPECT_EQ(read.metadata, header.metadata);
  const std::uint64_t data = written.size();
  EXPECT_THAT(read.tensors,
              ElementsAre(StoredTensor{"0.weight", ElementType::kFloat32, {2, 3}, {3, 1}, data, data + 24},
                          StoredTensor{"none", ElementType::kFloat64, {0, 4}, {4, 1}, data + 24, data + 24},
                          StoredTensor{"ö\n\"\0"s, ElementType::kBool, {}, {}, data + 24, data + 25}));
}

TEST(Safetensors, KeepsTheOrderOfEmptyTensors) {
  const SafetensorsHeader read =
      parse(write_safetensors_header({{empty_tensor("c"), empty_tensor("a"), empty_tensor("b")}, {}}));
  EXPECT_EQ(read.tensors.at(0).name, "c");
  EXPECT_EQ(read.tensors.at(1).name, "a");
  EXPECT_EQ(read.tensors.at(2).name, "b");
}

TEST(Safetensors, AlignsTheDataToEightBytes) {
  for (std::string name = "w"; name.size() < 20; name += "w") {
    EXPECT_EQ(write_safetensors_header({{empty_tensor(name)}, {}}).size() % 8, 0U);
  }
  EXPECT_EQ(write_safetensors_header({}), with_length(8, "{}      "));
}

std::string refusal_to_write(const SafetensorsHeader& header) {
  return refusal_of([&] { write_safetensors_header(header); });
}

TEST(Safetensors, RefusesToWriteUnsupportedNamesAndHeaders) {
  expect_refusals<refusal_to_write, SafetensorsHeader>({
      {{{empty_tensor("w"), empty_tensor("w")}, {}}, "\"w\": expected a unique name"},
      {{{empty_tensor("__metadata__")}, {}}, "expected a unique name"},
      {{{empty_tensor("\xff\n")}, {}}, "\"\\xff\\x0a\": expected UTF-8 text, found other bytes; rename it"},
      {{{}, {{"author", "\xc3"}}}, "UTF-8"},
      {{{}, {{"text", std::string(100'000'000, 'a')}}}, "at most 100000000 bytes, found 1000000"},
  });
}

// ---- The length ----------------------------------------------------------------------------------------

TEST(Safetensors, RefusesAWrongLengthOfTheHeader) {
  EXPECT_EQ(
      refusal(""),
      "f.safetensors: expected a safetensors file, which begins with the length of its header in 8 bytes, "
      "found 0 bytes; copy the file again, or save it again");
  expect_refusals<refusal>({
      {"\x02\0\0\0\0\0\0"s, "found 7 bytes"},
      {with_length(3, "{}"), "expected a header of at most 2 bytes, found the length 3;"},
      {with_length(2, ""), "at most 0 bytes"},
      {with_length(UINT64_MAX, "{}"), "found the length 18446744073709551615"},
      {with_length(UINT64_MAX - 7, "{}"), "at most 2 bytes"},
      {with_length(100'000'001, "{}" + std::string(99'999'999, ' ')), "at most 100000000 bytes"},
      {with_length(0, ""), "byte 8: expected a header that begins with '{', found ''"},
  });
}

// ---- The JSON ------------------------------------------------------------------------------------------

TEST(Safetensors, RefusesAHeaderThatDoesNotBeginWithABrace) {
  for (const std::string start : {" ", "[", "\n", "\xef\xbb\xbf", "\"", "/**/"}) {
    EXPECT_THAT(refusal(file_of(start + "{}")), HasSubstr("expected a header that begins with '{'")) << start;
  }
}

TEST(Safetensors, RefusesMalformedJson) {
  for (const std::string json : {"{",
                                 "{}}",
                                 "{]",
                                 "{}{}",
                                 "{}x",
                                 "{\"a\"}",
                                 "{\"a\":}",
                                 "{,}",
                                 "{'a':1}",
                                 "{/**/}",
                                 "{}//",
                                 "{\"\x01\":1}",
                                 "{\"a",
                                 "{\"\\",
                                 "{\"\\u12",
                                 "{\"\\ud800\":1}",
                                 "{\"__metadata__\":{\"a\":\"b\",}}",
                                 "{\"__metadata__\":{\"a\" \"b\"}}",
                                 "{\"__metadata__\":{\"\xff\":\"b\"}}",
                                 "{\"__metadata__\":{\"\xed\xa0\x80\":\"b\"}}"}) {
    EXPECT_THAT(refusal(file_of(json)),
                AllOf(StartsWith("f.safetensors: byte "), HasSubstr("expected a header of well-formed JSON")))
        << json;
  }
  EXPECT_EQ(refusal(file_of("{\"\x1b[2J")),
            "f.safetensors: byte 11: expected a header of well-formed JSON, found an error after "
            "'\"<U+001B>'; copy the file again, or save it again");
}

TEST(Safetensors, RefusesZeroBytesThatHideWhatFollows) {
  expect_refusals<refusal>({
      {file_of("{}\0\0"s), "byte 10: expected a header of well-formed JSON, found a zero byte"},
      {file_of("{}\0{}"s), "zero byte"},
  });
}

TEST(Safetensors, RefusesDeepNestingImmediately) {
  constexpr std::size_t kDepth = 1'000'000;
  std::string objects = "{";
  for (std::size_t i = 0; i < kDepth; ++i) objects += "\"a\":{";
  expect_refusals<refusal>({
      {file_of(objects), "expected only the keys dtype, shape and data_offsets, found \"a\""},
      {file_of("{\"a\":" + std::string(kDepth, '[')), "found an array"},
      {file_with(R"({"shape":)" + std::string(kDepth, '[')), "found an array"},
  });
}

TEST(Safetensors, RefusesDuplicateKeys) {
  const std::string none = tensor("U8", "0", "0,0");
  EXPECT_EQ(refusal(file_of(R"({"w":)" + none + R"(,"w":)" + none + "}")),
            "f.safetensors: header: expected each key once, found \"w\" twice; copy the file again, or save "
            "it again");
  expect_refusals<refusal>({
      {file_of(R"({"w":)" + none + R"(,"v":)" + none + R"(,"\u0077":)" + none + "}"), "found \"w\" twice"},
      {file_of(R"({"__metadata__":{},"__metadata__":{}})"), "found \"__metadata__\" twice"},
      {file_of(R"({"__metadata__":{"a":"1","a":"1"}})"),
       "key \"__metadata__\": expected each key once, found \"a\" twice"},
      {file_with(R"({"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]})"),
       "tensor \"w\": expected each key once, found \"dtype\" twice"},
      {file_with(R"({"dtype":"F32","shape":[],"shape":[2],"data_offsets":[0,8]})"), "found \"shape\" twice"},
      {file_with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]})"),
       "found \"data_offsets\" twice"},
  });
}

TEST(Safetensors, RefusesValuesOfTheWrongType) {
  for (const std::string value : {"1", "-1", "1.5", "null", "true", "[]", "{}"}) {
    expect_refusals<refusal>(
        {{file_of(R"({"__metadata__":{"a":)" + value + "}}"), "expected a string, found"}});
  }
  for (const std::string value : {"null", "\"text\"", "[]", "0", "false", "-0.5e3"}) {
    expect_refusals<refusal>({
        {file_of(R"({"__metadata__":)" + value + "}"), "expected an object of strings, found"},
        {file_with(value), "tensor \"w\": expected an object of dtype, shape and data_offsets, found"},
    });
  }
}

TEST(Safetensors, PrintsNamesFromTheFileSafely) {
  EXPECT_THAT(refusal(file_of(R"({"a\u001b[2J\n":0})")),
              AllOf(HasSubstr(R"(tensor "a\x1b[2J\x0a")"), Not(HasSubstr("\n"))));
  EXPECT_THAT(refusal(file_of("{\"" + std::string(10'000, 'a') + "\":0}")), SizeIs(Lt(400U)));
}

// ---- One tensor ----------------------------------------------------------------------------------------

TEST(Safetensors, RefusesMissingAndUnknownKeys) {
  expect_refusals<refusal>({
      {file_with(R"({"shape":[2],"data_offsets":[0,8]})"), "expected the key \"dtype\", found none"},
      {file_with(R"({"dtype":"F32","data_offsets":[0,8]})"), "expected the key \"shape\""},
      {file_with(R"({"dtype":"F32","shape":[2]})"), "expected the key \"data_offsets\""},
      {file_with("{}"), "expected the key"},
      {file_with(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]})"),
       "expected only the keys dtype, shape and data_offsets, found \"strides\""},
  });
}

TEST(Safetensors, RefusesUnknownElementTypes) {
  for (const std::string type : {"F8_E4M3", "U16", "C64", "f32", "F32 ", "", "float32"}) {
    EXPECT_THAT(
        refusal(file_with(tensor(type, "2", "0,8"))),
        HasSubstr("expected one of the dtypes F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL, found \"" +
                  type + "\""));
  }
  EXPECT_THAT(refusal(file_with(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})")),
              HasSubstr("the name of a dtype, found 32"));
}

TEST(Safetensors, RefusesInvalidSizes) {
  for (const std::string size : {"-1", "-0", "2.0", "2e0", "\"2\"", "null", "true", "9223372036854775808",
                                 "18446744073709551616", "1e300", "{}"}) {
    EXPECT_THAT(refusal(file_with(tensor("F32", size, "0,8"))),
                HasSubstr("tensor \"w\": expected at most 64 sizes from 0 to 2^63 - 1, found"))
        << size;
  }
  EXPECT_THAT(refusal(file_with(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})")),
              HasSubstr("expected an array of sizes, found 2"));
  EXPECT_THAT(refusal(file_with(tensor("F32", "1e400", "0,8"))), HasSubstr("found an error after '1e400'"));
}

TEST(Safetensors, RefusesMoreThan64Dimensions) {
  std::string ones = "2";
  for (int i = 1; i < 64; ++i) ones += ",1";
  EXPECT_THAT(parse(file_with(tensor("F32", ones, "0,8"))).tensors.at(0).shape, SizeIs(64));
  EXPECT_THAT(refusal(file_with(tensor("F32", ones + ",1", "0,8"))), HasSubstr("at most 64 sizes"));
}

TEST(Safetensors, RefusesAShapeThatDoesNotMatchItsBytes) {
  expect_refusals<refusal>({
      {file_with(tensor("F32", "3", "0,8")),
       "tensor \"w\": expected 8 bytes, found the dtype F32 with the shape [3], which takes 12"},
      {file_with(tensor("F64", "2", "0,8")), "which takes 16"},
      {file_with(tensor("F32", "0,2", "0,8")), "which takes 0"},
  });
  for (const std::string shape :
       {"9223372036854775807", "4294967296,4294967296", "4611686018427387905", "0,9223372036854775807",
        "4294967296,2147483648,2,1", "3,6148914691236517206"}) {
    EXPECT_THAT(refusal(file_with(tensor("F32", shape, "0,8"))), HasSubstr("which is too large")) << shape;
  }
}

TEST(Safetensors, RefusesInvalidOffsets) {
  for (const std::string offsets :
       {"-1,8", "0,8.0", "0,\"8\"", "0,8,8", "null,8", "[0],8", "0,18446744073709551616"}) {
    EXPECT_THAT(refusal(file_with(tensor("F32", "2", offsets))),
                HasSubstr("expected two offsets from 0 to 2^64 - 1, found"))
        << offsets;
  }
  for (const std::string offsets :
       {"0,9", "8,0", "1,9", "9,9", "18446744073709551608,18446744073709551615", "18446744073709551615,7"}) {
    EXPECT_THAT(refusal(file_with(tensor("F32", "2", offsets))),
                HasSubstr("expected ascending data_offsets within the 8 bytes of data, found"))
        << offsets;
  }
  expect_refusals<refusal>({
      {file_with(tensor("F32", "2", "8")), "expected two data_offsets, found 1"},
      {file_with(tensor("F32", "2", "")), "expected two data_offsets, found 0"},
      {file_with(R"({"dtype":"F32","shape":[2],"data_offsets":8})"),
       "expected an array of two offsets, found 8"},
  });
}

// ---- All tensors ---------------------------------------------------------------------------------------

TEST(Safetensors, RefusesGapsAndOverlaps) {
  const std::string first = tensor("U8", "2", "0,2");
  EXPECT_EQ(refusal(file_with(first, tensor("U8", "2", "2,4"))), "(it was accepted)");
  EXPECT_THAT(refusal(file_with(tensor("F32", "1", "4,8"))),
              HasSubstr("tensor \"w\": expected its elements to begin at byte "));
  for (const std::string& second : {tensor("U8", "2", "1,3"), tensor("U8", "2", "0,2"),
                                    tensor("U8", "1", "3,4"), tensor("U8", "0", "1,1")}) {
    EXPECT_THAT(refusal(file_with(first, second)),
                HasSubstr("tensor \"b\": expected its elements to begin at byte "))
        << second;
  }
}

TEST(Safetensors, RefusesBytesAfterTheTensors) {
  expect_refusals<refusal>({
      {file_with(tensor("F32", "2", "0,8"), 9), "found 1 more bytes"},
      {file_of("{}", 3),
       "expected the end of the file after the last tensor, at byte 10, found 3 more bytes"},
  });
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string file = file_with(tensor("F32", "2", "0,8"));
  for (std::size_t length = 0; length < file.size(); ++length) {
    EXPECT_THAT(refusal(file.substr(0, length)), HasSubstr("expected")) << length;
  }
}

}  // namespace twingrad::safetensors_test
