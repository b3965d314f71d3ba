#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "../support/refusal.h"
#include "twingrad/io/little_endian.h"
#include "twingrad/io/safetensors_header.h"

namespace twingrad {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::string with_length(std::uint64_t length, const std::string& rest) {
  return write_little_endian<std::uint64_t>(length) + rest;
}

/// A file with this header and so many bytes of data.
std::string file_of(const std::string& json, std::size_t data_size = 0) {
  return with_length(json.size(), json + std::string(data_size, '.'));
}

/// A file with one tensor "w" and the eight bytes of data that fit F32 and [2].
std::string file_with_tensor(const std::string& description, std::size_t data_size = 8) {
  return file_of(R"({"w":)" + description + "}", data_size);
}

std::string refusal(const std::string& file) {
  return testing::refusal_of([&] { parse_safetensors_header(file, "f.safetensors"); });
}

SafetensorsHeader parse(const std::string& file) { return parse_safetensors_header(file, "f.safetensors"); }

// ---- What is read --------------------------------------------------------------------------------------

TEST(Safetensors, GivesTheTensorsOfAHeader) {
  const std::string json = R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                           R"("b":{"dtype":"F64","shape":[1],"data_offsets":[24,32]}})";
  const SafetensorsHeader header = parse(file_of(json, 32));
  const std::uint64_t data = 8 + json.size();
  EXPECT_THAT(header.tensors,
              ElementsAre(StoredTensor{"w", ElementType::kFloat32, {2, 3}, {3, 1}, data, data + 24},
                          StoredTensor{"b", ElementType::kFloat64, {1}, {1}, data + 24, data + 32}));
  EXPECT_THAT(header.metadata, IsEmpty());
}

TEST(Safetensors, GivesTheMetadata) {
  const SafetensorsHeader header = parse(file_of(R"({"__metadata__":{"format":"pt","":"ö"}})"));
  EXPECT_THAT(header.metadata, ElementsAre(Pair("", "ö"), Pair("format", "pt")));
  EXPECT_THAT(header.tensors, IsEmpty());
}

TEST(Safetensors, OrdersTheTensorsByTheirData) {
  const SafetensorsHeader header = parse(file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},)"
                                                 R"("none":{"dtype":"U8","shape":[0],"data_offsets":[1,1]},)"
                                                 R"("a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})",
                                                 2));
  ASSERT_THAT(header.tensors, SizeIs(3));
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[1].name, "none");
  EXPECT_EQ(header.tensors[2].name, "b");
}

TEST(Safetensors, KnowsEveryElementType) {
  for (const ElementFormat& format : kElementFormats) {
    const std::string size = std::to_string(format.size);
    const SafetensorsHeader header = parse(file_with_tensor(
        R"({"dtype":")" + std::string(format.name) + R"(","shape":[],"data_offsets":[0,)" + size + "]}",
        format.size));
    EXPECT_EQ(header.tensors.at(0).type, format.type);
  }
}

TEST(Safetensors, TakesSpacesBehindTheHeaderAndWithin) {
  EXPECT_THAT(parse(file_of("{}       ")).tensors, IsEmpty());
  EXPECT_THAT(parse(file_of("{ \"w\" : {\"shape\":[ ], \"data_offsets\" :[0 , 1],\n\"dtype\":\"I8\"} }  ", 1))
                  .tensors,
              SizeIs(1));
}

TEST(Safetensors, TakesNamesOfAnyText) {
  const SafetensorsHeader header =
      parse(file_of(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
                    R"("a\u0000\n\"\ud83d\ude00":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"));
  EXPECT_EQ(header.tensors.at(0).name, "");
  EXPECT_EQ(header.tensors.at(1).name, "a\0\n\"\xf0\x9f\x98\x80"s);
}

TEST(Safetensors, ReadsBackWhatItWrites) {
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

TEST(Safetensors, KeepsTheOrderOfTensorsWithoutElements) {
  SafetensorsHeader header;
  for (const char* name : {"c", "a", "b"})
    header.tensors.push_back({name, ElementType::kInt8, {0}, {1}, 0, 0});
  const SafetensorsHeader read = parse(write_safetensors_header(header));
  EXPECT_EQ(read.tensors.at(0).name, "c");
  EXPECT_EQ(read.tensors.at(1).name, "a");
  EXPECT_EQ(read.tensors.at(2).name, "b");
}

TEST(Safetensors, WritesTheDataToAMultipleOfEight) {
  for (std::string name = "w"; name.size() < 20; name += "w") {
    EXPECT_EQ(write_safetensors_header({{{name, ElementType::kInt8, {0}, {1}, 0, 0}}, {}}).size() % 8, 0U);
  }
  EXPECT_EQ(write_safetensors_header({}), with_length(8, "{}      "));
}

TEST(Safetensors, RefusesToWriteNamesThatTheFormatCannotHold) {
  const auto refusal_to_write = [](const std::string& first, const std::string& second) {
    return testing::refusal_of([&] {
      write_safetensors_header(
          {{{first, ElementType::kInt8, {0}, {1}, 0, 0}, {second, ElementType::kInt8, {0}, {1}, 0, 0}}, {}});
    });
  };
  EXPECT_THAT(refusal_to_write("w", "w"), StartsWith("\"w\": expected a name that no other entry has"));
  EXPECT_THAT(refusal_to_write("w", "__metadata__"), HasSubstr("no other entry has"));
  EXPECT_EQ(refusal_to_write("w", "\xff\n"),
            "\"\\xff\\x0a\": expected a name of UTF-8, found other bytes; rename it");
  EXPECT_THAT(testing::refusal_of([] {
                write_safetensors_header({{}, {{"author", "\xc3"}}});
              }),
              HasSubstr("UTF-8"));
}

TEST(Safetensors, RefusesToWriteAHeaderThatNobodyWouldRead) {
  EXPECT_THAT(testing::refusal_of([] {
                write_safetensors_header({{}, {{"text", std::string(100'000'000, 'a')}}});
              }),
              HasSubstr("expected a header of at most 100000000 bytes, found 1000000"));
}

// ---- The length ----------------------------------------------------------------------------------------

TEST(Safetensors, RefusesAFileWithoutRoomForALength) {
  EXPECT_EQ(
      refusal(""),
      "f.safetensors: expected a safetensors file, which begins with the length of its header in 8 bytes, "
      "found 0 bytes; copy the file again, or write it anew");
  EXPECT_THAT(refusal("\x02\0\0\0\0\0\0"s), HasSubstr("found 7 bytes"));
}

TEST(Safetensors, RefusesAHeaderLongerThanTheFile) {
  EXPECT_THAT(refusal(with_length(3, "{}")),
              HasSubstr("expected a header of at most 2 bytes, found its length given as 3"));
  EXPECT_THAT(refusal(with_length(2, "")), HasSubstr("at most 0 bytes"));
  EXPECT_THAT(refusal(with_length(UINT64_MAX, "{}")), HasSubstr("given as 18446744073709551615"));
  EXPECT_THAT(refusal(with_length(UINT64_MAX - 7, "{}")), HasSubstr("at most 2 bytes"));
}

TEST(Safetensors, RefusesAHeaderOfMoreThan100MillionBytes) {
  const std::string spaces(100'000'001 - 2, ' ');
  EXPECT_THAT(refusal(with_length(100'000'001, "{}" + spaces)),
              HasSubstr("expected a header of at most 100000000 bytes"));
}

TEST(Safetensors, RefusesALengthOfZero) {
  EXPECT_THAT(refusal(with_length(0, "")),
              HasSubstr("byte 8: expected a header that begins with '{', found ''"));
}

// ---- The JSON ------------------------------------------------------------------------------------------

TEST(Safetensors, RefusesAHeaderThatDoesNotBeginWithABrace) {
  for (const std::string start : {" ", "[", "\n", "\xef\xbb\xbf", "\"", "/**/"}) {
    EXPECT_THAT(refusal(file_of(start + "{}")), HasSubstr("expected a header that begins with '{'")) << start;
  }
}

TEST(Safetensors, RefusesJsonThatIsNotWellFormed) {
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
}

TEST(Safetensors, TellsWhereTheJsonIsBroken) {
  EXPECT_EQ(refusal(file_of("{\"\x1b[2J")),
            "f.safetensors: byte 11: expected a header of well-formed JSON, found a fault behind "
            "'\"<U+001B>'; copy the "
            "file again, or write it anew");
}

TEST(Safetensors, RefusesZeroBytesThatHideWhatFollows) {
  EXPECT_THAT(refusal(file_of("{}\0\0"s)),
              HasSubstr("byte 10: expected a header of well-formed JSON, found a zero byte"));
  EXPECT_THAT(refusal(file_of("{}\0{}"s)), HasSubstr("zero byte"));
}

TEST(Safetensors, RefusesDeepNestingAtOnce) {
  constexpr std::size_t kDepth = 1'000'000;
  std::string objects = "{";
  for (std::size_t i = 0; i < kDepth; ++i) objects += "\"a\":{";
  EXPECT_THAT(refusal(file_of(objects)),
              HasSubstr("expected the keys dtype, shape and data_offsets alone, found \"a\""));
  EXPECT_THAT(refusal(file_of("{\"a\":" + std::string(kDepth, '['))), HasSubstr("found an array"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"shape":)" + std::string(kDepth, '['))),
              HasSubstr("found an array"));
}

TEST(Safetensors, RefusesATensorNamedTwice) {
  const std::string tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_EQ(refusal(file_of(R"({"w":)" + tensor + R"(,"w":)" + tensor + "}")),
            "f.safetensors: header: expected each key once, found \"w\" twice; copy the file again, or write "
            "it anew");
  EXPECT_THAT(refusal(file_of(R"({"w":)" + tensor + R"(,"v":)" + tensor + R"(,"\u0077":)" + tensor + "}")),
              HasSubstr("found \"w\" twice"));
}

TEST(Safetensors, RefusesTwoMetadataAndAKeyTwiceInIt) {
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{},"__metadata__":{}})")),
              HasSubstr("found \"__metadata__\" twice"));
  EXPECT_THAT(refusal(file_of(R"({"__metadata__":{"a":"1","a":"1"}})")),
              HasSubstr("key \"__metadata__\": expected each key once, found \"a\" twice"));
}

TEST(Safetensors, RefusesAKeyOfATensorTwice) {
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]})")),
              HasSubstr("tensor \"w\": expected each key once, found \"dtype\" twice"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[],"shape":[2],"data_offsets":[0,8]})")),
              HasSubstr("found \"shape\" twice"));
  EXPECT_THAT(
      refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]})")),
      HasSubstr("found \"data_offsets\" twice"));
}

TEST(Safetensors, RefusesMetadataThatIsNoText) {
  for (const std::string value : {"1", "-1", "1.5", "null", "true", "[]", "{}"}) {
    EXPECT_THAT(refusal(file_of(R"({"__metadata__":{"a":)" + value + "}}")),
                HasSubstr("expected a text, found"))
        << value;
  }
  for (const std::string value : {"null", "\"text\"", "[]", "0"}) {
    EXPECT_THAT(refusal(file_of(R"({"__metadata__":)" + value + "}")),
                HasSubstr("expected an object of texts, found"))
        << value;
  }
}

TEST(Safetensors, RefusesTensorsThatAreNoObject) {
  for (const std::string value : {"null", "\"text\"", "[]", "0", "false", "-0.5e3"}) {
    EXPECT_THAT(refusal(file_of("{\"w\":" + value + "}")),
                HasSubstr("tensor \"w\": expected an object of dtype, shape and data_offsets, found"))
        << value;
  }
}

TEST(Safetensors, PrintsNamesFromTheFileSafely) {
  EXPECT_THAT(refusal(file_of(R"({"a\u001b[2J\n":0})")),
              AllOf(HasSubstr(R"(tensor "a\x1b[2J\x0a")"), Not(HasSubstr("\n"))));
  EXPECT_THAT(refusal(file_of("{\"" + std::string(10'000, 'a') + "\":0}")), SizeIs(::testing::Lt(400U)));
}

// ---- A tensor ------------------------------------------------------------------------------------------

TEST(Safetensors, RefusesATensorThatLacksAKey) {
  EXPECT_THAT(refusal(file_with_tensor(R"({"shape":[2],"data_offsets":[0,8]})")),
              HasSubstr("expected the key \"dtype\", found none"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","data_offsets":[0,8]})")),
              HasSubstr("expected the key \"shape\""));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2]})")),
              HasSubstr("expected the key \"data_offsets\""));
  EXPECT_THAT(refusal(file_with_tensor("{}")), HasSubstr("expected the key"));
}

TEST(Safetensors, RefusesAKeyThatNoTensorHas) {
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]})")),
              HasSubstr("alone, found \"strides\""));
}

TEST(Safetensors, RefusesElementTypesItDoesNotKnowByName) {
  for (const std::string type : {"F8_E4M3", "U16", "C64", "f32", "F32 ", "", "float32"}) {
    EXPECT_THAT(
        refusal(file_with_tensor(R"({"dtype":")" + type + R"(","shape":[2],"data_offsets":[0,8]})")),
        HasSubstr("expected one of the dtypes F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL, found \"" +
                  type + "\""));
  }
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})")),
              HasSubstr("the name of a dtype, found 32"));
}

TEST(Safetensors, RefusesSizesThatAreNoSizes) {
  for (const std::string size : {"-1", "-0", "2.0", "2e0", "\"2\"", "null", "true", "9223372036854775808",
                                 "18446744073709551616", "1e300", "{}"}) {
    EXPECT_THAT(
        refusal(file_with_tensor(R"({"dtype":"F32","shape":[)" + size + R"(],"data_offsets":[0,8]})")),
        HasSubstr("tensor \"w\": expected at most 64 sizes from 0 to 2^63 - 1, found"))
        << size;
  }
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})")),
              HasSubstr("expected an array of sizes, found 2"));
}

TEST(Safetensors, RefusesANumberBeyondAllBounds) {
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[1e400],"data_offsets":[0,8]})")),
              HasSubstr("found a fault behind '1e400'"));
}

TEST(Safetensors, RefusesMoreThan64Dimensions) {
  std::string ones = "2";
  for (int i = 1; i < 64; ++i) ones += ",1";
  EXPECT_THAT(parse(file_with_tensor(R"({"dtype":"F32","shape":[)" + ones + R"(],"data_offsets":[0,8]})"))
                  .tensors.at(0)
                  .shape,
              SizeIs(64));
  EXPECT_THAT(
      refusal(file_with_tensor(R"({"dtype":"F32","shape":[)" + ones + R"(,1],"data_offsets":[0,8]})")),
      HasSubstr("at most 64 sizes"));
}

TEST(Safetensors, RefusesAShapeThatDoesNotFitItsBytes) {
  EXPECT_THAT(
      refusal(file_with_tensor(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})")),
      HasSubstr("tensor \"w\": expected 8 bytes, found the dtype F32 with the shape [3], which takes 12"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F64","shape":[2],"data_offsets":[0,8]})")),
              HasSubstr("which takes 16"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[0,2],"data_offsets":[0,8]})")),
              HasSubstr("which takes 0"));
}

TEST(Safetensors, RefusesAShapeWhoseProductOverflows) {
  for (const std::string shape :
       {"9223372036854775807", "4294967296,4294967296", "4611686018427387905", "0,9223372036854775807",
        "4294967296,2147483648,2,1", "3,6148914691236517206"}) {
    EXPECT_THAT(
        refusal(file_with_tensor(R"({"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[0,8]})")),
        HasSubstr("which takes more than can be counted"))
        << shape;
  }
}

TEST(Safetensors, RefusesOffsetsThatAreNoTwoNumbers) {
  for (const std::string offsets :
       {"-1,8", "0,8.0", "0,\"8\"", "0,8,8", "null,8", "[0],8", "0,18446744073709551616"}) {
    EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[)" + offsets + "]}")),
                HasSubstr("expected two offsets from 0 to 2^64 - 1, found"))
        << offsets;
  }
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[8]})")),
              HasSubstr("expected two data_offsets, found 1"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[]})")),
              HasSubstr("expected two data_offsets, found 0"));
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":8})")),
              HasSubstr("expected an array of two offsets, found 8"));
}

TEST(Safetensors, RefusesOffsetsOutsideOfTheData) {
  for (const std::string offsets :
       {"0,9", "8,0", "1,9", "9,9", "18446744073709551608,18446744073709551615", "18446744073709551615,7"}) {
    EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[)" + offsets + "]}")),
                HasSubstr("expected data_offsets that rise and lie within the 8 bytes of data, found"))
        << offsets;
  }
}

// ---- All tensors together ------------------------------------------------------------------------------

TEST(Safetensors, RefusesAHoleBeforeTheFirstTensor) {
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})")),
              HasSubstr("tensor \"w\": expected its elements to begin at byte "));
}

TEST(Safetensors, RefusesAHoleBetweenTensorsAndAnOverlap) {
  const auto with_second = [](const std::string& offsets) {
    return file_of(
        R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":)" +
            offsets + "}}",
        4);
  };
  EXPECT_EQ(refusal(with_second("[2,4]")), "(it was accepted)");
  EXPECT_THAT(refusal(with_second("[1,3]")),
              HasSubstr("tensor \"b\": expected its elements to begin at byte "));
  EXPECT_THAT(refusal(with_second("[0,2]")),
              HasSubstr("tensor \"b\": expected its elements to begin at byte "));
  EXPECT_THAT(
      refusal(file_of(
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
          4)),
      HasSubstr("tensor \"b\": expected its elements to begin at byte "));
}

TEST(Safetensors, RefusesAnEmptyTensorWithinAnother) {
  EXPECT_THAT(
      refusal(file_of(
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
          2)),
      HasSubstr("tensor \"b\": expected its elements to begin at byte "));
}

TEST(Safetensors, RefusesBytesBehindTheTensors) {
  EXPECT_THAT(refusal(file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 9)),
              HasSubstr("found 1 bytes more"));
  EXPECT_THAT(
      refusal(file_of("{}", 3)),
      HasSubstr("expected the end of the file behind the last tensor, at byte 10, found 3 bytes more"));
}

TEST(Safetensors, RefusesEveryBeginningOfAFile) {
  const std::string file = file_with_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})");
  for (std::size_t length = 0; length < file.size(); ++length) {
    EXPECT_THAT(refusal(file.substr(0, length)), HasSubstr("expected")) << length;
  }
}

}  // namespace
}  // namespace twingrad
