#include "twingrad/io/tensor_pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../support/archives.h"
#include "../support/refusal.h"
#include "pickles.h"

namespace twingrad::tensor_pickle_test {

using namespace ::testing;
using namespace twingrad::testing;

const std::string kRebuildTensor = global("torch._utils", "_rebuild_tensor_v2");
const std::string kRebuildParameter = global("torch._utils", "_rebuild_parameter");

// ---- Reading -------------------------------------------------------------------------------------------

TEST(TensorPickle, ReadsATensor) {
  const std::string pickle =
      pickled(dict(text("w") + tensor(storage("DoubleStorage", 100, "7"), 3, {2, 4}, {1, 2})));
  const std::vector<PickledTensor> tensors = read_tensor_pickle(pickle, "data.pkl");
  ASSERT_THAT(tensors, SizeIs(1));
  EXPECT_EQ(tensors[0].name, "w");
  EXPECT_EQ(tensors[0].type, ElementType::kFloat64);
  EXPECT_EQ(tensors[0].storage, "7");
  EXPECT_EQ(tensors[0].storage_size, 100);
  EXPECT_EQ(tensors[0].offset, 3);
  EXPECT_THAT(tensors[0].shape, ElementsAre(2, 4));
  EXPECT_THAT(tensors[0].strides, ElementsAre(1, 2));
}

TEST(TensorPickle, ReadsEveryStorageClass) {
  for (const ElementFormat& format : kElementFormats) {
    const std::string pickle =
        pickled(dict(text("w") + tensor(storage(std::string(format.torch_storage), 1), 0, {}, {})));
    EXPECT_EQ(read_tensor_pickle(pickle, "data.pkl").at(0).type, format.type);
  }
}

TEST(TensorPickle, ReadsDictsListsAndTuplesInOrder) {
  const std::string b = text("b") + two_floats();
  const std::string a = text("a") + two_floats();
  EXPECT_THAT(names_in(dict(b + a)), ElementsAre("b", "a"));
  EXPECT_THAT(names_in("}" + b + "s" + a + "s"), ElementsAre("b", "a"));
  EXPECT_THAT(names_in(ordered_dict() + "(" + b + a + "u"), ElementsAre("b", "a"));
  EXPECT_THAT(names_in(tuple(tuple(b) + tuple(a))), ElementsAre("b", "a"));
  EXPECT_THAT(names_in(b + "\x86" + a + "\x86" + "\x86"), ElementsAre("b", "a"));
  EXPECT_THAT(names_in(join("](", tuple(b), tuple(a), "e")), ElementsAre("b", "a"));
  EXPECT_THAT(names_in(join("]", tuple(b), "a", tuple(a), "a")), ElementsAre("b", "a"));
}

TEST(TensorPickle, ReadsEmptyContainers) {
  for (const std::string& empty : {"}"s, ")"s, "]"s, "(t"s, ordered_dict()})
    EXPECT_THAT(names_in(empty), IsEmpty());
}

TEST(TensorPickle, IgnoresTheVersionsOfModules) {
  EXPECT_THAT(names_in(ordered_dict() + "(" + text("w") + two_floats() + "u" +
                       dict(text("_metadata") + ordered_dict()) + "b"),
              ElementsAre("w"));
}

TEST(TensorPickle, ReadsAParameterAsATensor) {
  EXPECT_THAT(names_in(dict(text("w") + call(global("torch._utils", "_rebuild_parameter"),
                                             two_floats() + "\x88" + ordered_dict()))),
              ElementsAre("w"));
}

TEST(TensorPickle, IgnoresTheTypeTagOfLibTorch) {
  EXPECT_THAT(names_in(call(global("torch.jit._pickle", "restore_type_tag"),
                            dict(text("w") + two_floats()) + text("Dict[str, Tensor]"))),
              ElementsAre("w"));
}

TEST(TensorPickle, AcceptsOnlyEmptySettings) {
  const auto with_settings = [](const std::string& settings) {
    return dict(text("w") + call(kRebuildTensor, storage("FloatStorage", 2) + number(0) + tuple_of({2}) +
                                                     tuple_of({1}) + "\x89" + ordered_dict() + settings));
  };
  EXPECT_THAT(names_in(with_settings("}")), ElementsAre("w"));
  EXPECT_THAT(refusal(with_settings(dict(text("neg") + "\x88"))),
              HasSubstr("expected a tensor of plain numbers"));
  EXPECT_THAT(refusal(with_settings("N")),
              HasSubstr("expected a dict as the settings of a tensor, found None"));
}

TEST(TensorPickle, ReadsIntegersOfEverySize) {
  const auto offset = [](const std::string& integer) {
    const std::string pickle =
        pickled(dict(text("w") + call(kRebuildTensor, storage("FloatStorage", 2) + integer + ")" + ")" +
                                                          "\x89" + ordered_dict())));
    return read_tensor_pickle(pickle, "data.pkl").at(0).offset;
  };
  EXPECT_EQ(offset("K\xff"), 255);
  EXPECT_EQ(offset("M\xff\xff"), 65535);
  EXPECT_EQ(offset("J\xff\xff\xff\x7f"), 2147483647);
  EXPECT_EQ(offset("J\xff\xff\xff\xff"), -1);
  EXPECT_EQ(offset("\x8a\0"s), 0);
  EXPECT_EQ(offset("\x8a\x01\xff"), -1);
  EXPECT_EQ(offset("\x8a\x05\0\0\0\0\x01"s), std::int64_t{1} << 32);
  EXPECT_EQ(offset("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX);
}

TEST(TensorPickle, RemembersValues) {
  EXPECT_THAT(names_in(dict(text("a") + two_floats() + "q\x07" + text("b") + "h\x07")),
              ElementsAre("a", "b"));
  const std::string far = u32(0xffffffff);
  EXPECT_THAT(names_in(dict(text("a") + two_floats() + "r" + far + text("b") + "j" + far)),
              ElementsAre("a", "b"));
}

// ---- No code is run ------------------------------------------------------------------------------------

TEST(TensorPickle, RefusesEveryOtherCall) {
  EXPECT_EQ(refusal(dict(text("w") + call(global("os", "system"), text("exit 1")))),
            "data.pkl: byte 10: expected tensors and no code, found a call of os.system; save only the "
            "tensors: torch.save(model.state_dict(), file)");
  for (const char* name :
       {"posix\nsystem", "builtins\neval", "__builtin__\nexec", "torch\nload",
        "torch.nn.modules.linear\nLinear", "torch\nFloatTensor", "torch\nComplexFloatStorage",
        "collections\nOrderedDict ", "collections.abc\nOrderedDict", "torch._utils\n_rebuild_tensor",
        "torch.jit._pickle\nbuild_tensorlist", "\n"}) {
    EXPECT_THAT(refusal("c"s + name + "\n"), HasSubstr("found a call of ")) << name;
  }
}

TEST(TensorPickle, PrintsNamesFromTheFileSafely) {
  EXPECT_THAT(refusal(global("o\x1b[2J", std::string(1000, 's'))),
              AllOf(HasSubstr("found a call of o\\x1b[2J.ssss"), SizeIs(Lt(300U))));
}

TEST(TensorPickle, RefusesUnterminatedNames) {
  for (const std::string global : {"cos", "cos\nsystem"}) {
    EXPECT_THAT(refusal_of_pickle("\x80\x02" + global),
                HasSubstr("expected the end of a line, found the end"));
  }
}

TEST(TensorPickle, RefusesEveryOtherInstruction) {
  const std::string known = "\x80(NKMJGCB\x8aX\x8c\x8d)\x81\x85\x86\x87t]ae}suqrhjc\x93QRb\x88\x89\x94\x95.";
  for (int code = 0; code < 256; ++code) {
    const char instruction = static_cast<char>(code);
    if (known.find(instruction) != std::string::npos) continue;
    EXPECT_THAT(refusal(std::string(1, instruction)),
                HasSubstr("expected an instruction that builds tensors, found instruction 0x"))
        << code;
  }
}

TEST(TensorPickle, RefusesOtherProtocols) {
  for (const std::string& protocol : {"\0"s, "\1"s, "\6"s, "\xff"s}) {
    EXPECT_THAT(refusal_of_pickle("\x80" + protocol + "}."),
                AllOf(HasSubstr("expected a pickle of protocol 2 to 5, found protocol"),
                      HasSubstr("save it again with torch.save, without pickle_protocol")));
  }
  // They have no instruction for the protocol.
  EXPECT_THAT(refusal_of_pickle("(dp0\n."), HasSubstr("found one of protocol 0 or 1, or another file"));
}

TEST(TensorPickle, RefusesInvalidCalls) {
  expect_refusals<refusal>({
      {call(text("os.system"), text("exit 1")), "expected a function as the callee, found a str"},
      {call(global("torch", "FloatStorage"), number(4)),
       "expected a function as the callee, found a storage class"},
      {kRebuildTensor + "]R", "expected a tuple as the arguments of a call, found a list"},
      {call(global("collections", "OrderedDict"), "]"), "expected 0 arguments of OrderedDict, found 1"},
      {call(kRebuildTensor, storage("FloatStorage", 2)), "arguments of _rebuild_tensor_v2, found 1"},
      {call(kRebuildTensor, "NNNNNNNN"), "arguments of _rebuild_tensor_v2, found 8"},
      {call(kRebuildTensor, "NNNNNN"), "expected a storage as the data of a tensor, found None"},
      {call(kRebuildParameter, "NNN"), "expected a tensor as the data of a parameter, found None"},
      {call(kRebuildParameter, two_floats()), "arguments of _rebuild_parameter, found 1"},
      {call(global("torch.jit._pickle", "restore_type_tag"), ""), "arguments of restore_type_tag, found 0"},
  });
}

TEST(TensorPickle, RefusesInvalidTensors) {
  const auto with = [](const std::string& offset, const std::string& shape, const std::string& strides) {
    return call(kRebuildTensor, storage("FloatStorage", 2) + offset + shape + strides + "\x89}");
  };
  expect_refusals<refusal>({
      {with("N", ")", ")"), "expected an int as the offset of a tensor, found None"},
      {with(number(0), "]", ")"), "expected a tuple as the shape of a tensor, found a list"},
      {with(number(0), ")", number(1)), "expected a tuple as the strides of a tensor, found an int"},
      {with(number(0), tuple("\x88"), ")"), "expected an int as the shape of a tensor, found a bool"},
      {with(number(0), tuple_of({1}), ")"), "expected one stride per dimension, found another number"},
      {with(number(0), tuple_of(std::vector<std::int64_t>(65, 1)), ")"),
       "expected at most 64 dimensions, found 65"},
      {with("\x8a\x09" + std::string(9, '\0'), ")", ")"),
       "expected an int as the offset of a tensor, found another value"},
  });
}

TEST(TensorPickle, RefusesInvalidStorages) {
  const std::string type = global("torch", "FloatStorage");
  expect_refusals<refusal>({
      {text("0") + "Q", "expected a tuple as the id of a storage, found a str"},
      {")Q", "expected a tuple of 5 as the id of a storage, found one of 0"},
      {tuple("N" + type + text("0") + text("cpu") + number(2)) + "Q",
       "expected a str as the kind of an id, found None"},
      {tuple(text("module") + type + text("0") + text("cpu") + number(2)) + "Q",
       "expected the id of a storage, found another"},
      {tuple(text("storage") + text("FloatStorage") + text("0") + text("cpu") + number(2)) + "Q",
       "expected a storage class as the type of a storage, found a str"},
      {tuple(text("storage") + type + number(0) + text("cpu") + number(2)) + "Q",
       "expected a str as the name of a storage, found an int"},
      {tuple(text("storage") + type + text("0") + text("cpu") + "N") + "Q",
       "expected an int as the size of a storage, found None"},
  });
}

// ---- The stack -----------------------------------------------------------------------------------------

TEST(TensorPickle, RefusesToPopFromAnEmptyStackOrBelowAMark) {
  for (const std::string instructions :
       {"\x85", "N\x86", "NN\x87", "a",     "]a", "s",      "}s",  "}Ns",     "Q",     "R",
        ")R",   "b",     "}b",     "q\x01", "",   "N(\x85", "](a", "N(q\x01", "}(NNs", "N("}) {
    EXPECT_THAT(refusal(instructions), HasSubstr("expected a value on the stack, found none"))
        << instructions;
  }
  for (const std::string instructions : {"t", "Nt", "]e", "}u"}) {
    EXPECT_THAT(refusal(instructions), HasSubstr("expected a mark on the stack, found none")) << instructions;
  }
}

TEST(TensorPickle, RefusesToAddItemsToOtherValues) {
  expect_refusals<refusal>({
      {"NNa", "expected a list as the container of new items, found None"},
      {")Na", "expected a list as the container of new items, found a tuple"},
      {"]NNs", "expected a dict as the container of new items, found a list"},
      {"}(Nu", "expected a value for every key, found a key without one"},
      {"N}b", "expected a dict as the object of a state, found None"},
      {"}Nb", "expected a dict as the state of an object, found None"},
  });
}

TEST(TensorPickle, RefusesUnknownMemoEntries) {
  EXPECT_THAT(refusal("h\x01"), HasSubstr("expected a value in the memo, found none"));
  EXPECT_THAT(refusal(join("}r", u32(0xffffffff), "j", u32(0xfffffffe))),
              HasSubstr("expected a value in the memo, found none"));
}

TEST(TensorPickle, RefusesMoreThanOneResult) {
  EXPECT_THAT(refusal("}}"), HasSubstr("expected the end of the pickle after its one result, found more"));
  EXPECT_THAT(refusal("(}"), HasSubstr("expected the end of the pickle after its one result, found more"));
  EXPECT_THAT(refusal_of_pickle(pickled("}") + "x"),
              HasSubstr("expected the end of the pickle after its one result"));
}

TEST(TensorPickle, RefusesEveryTruncation) {
  const std::string pickle = pickled(dict(text("w") + two_floats()));
  for (std::size_t length = 0; length < pickle.size(); ++length) {
    EXPECT_THAT(refusal_of_pickle(pickle.substr(0, length)),
                HasSubstr("found the end of the pickle; copy the file again"))
        << length;
  }
}

TEST(TensorPickle, RefusesAStringThatExceedsThePickle) {
  EXPECT_THAT(
      refusal(join("X", u32(2), "a")),
      HasSubstr("expected more instructions, found the end of the pickle"));  // '.' is its second byte
  EXPECT_THAT(refusal(join("X", u32(0xffffffff))),
              HasSubstr("expected more instructions, found the end of the pickle"));
}

// ---- The result ----------------------------------------------------------------------------------------

TEST(TensorPickle, RefusesResultsThatAreNotContainers) {
  for (const std::string& result :
       {"N"s, number(3), text("w"), two_floats(), "\x88"s, storage("FloatStorage", 2), kRebuildTensor}) {
    EXPECT_THAT(refusal(result),
                HasSubstr("expected a dict of tensors, or a tuple of (name, tensor), found "))
        << result;
  }
}

TEST(TensorPickle, RefusesInvalidNamesAndTensors) {
  expect_refusals<refusal>({
      {dict(number(0) + two_floats()), "expected a str as the name of a tensor, found an int"},
      {dict(text("epoch\n") + number(3)), "expected a tensor under the name \"epoch\\x0a\", found an int"},
      {dict(text("w") + two_floats() + text("other") + dict(text("v") + two_floats())),
       "expected a tensor under the name \"other\", found a dict"},
      {tuple(two_floats()), "expected a tuple as a (name, tensor) pair, found a tensor"},
      {tuple(tuple(text("w"))), "expected a name and a tensor, found a tuple of 1"},
      {tuple(tuple(text("w") + two_floats() + "N")), "found a tuple of 3"},
      {dict(text("w") + two_floats() + text("w") + two_floats()),
       "expected each name once, found \"w\" twice"},
      {dict(text("\xc3(") + two_floats()), "expected a name in UTF-8, found \"\\xc3(\""},
  });
}

// ---- Hostile sizes -------------------------------------------------------------------------------------

TEST(TensorPickle, RefusesAPickleOfMoreThan4MiB) {
  EXPECT_THAT(refusal_of_pickle(std::string((4U << 20) + 1, 'N')),
              HasSubstr("expected a pickle of at most 4194304 bytes, found 4194305"));
}

TEST(TensorPickle, NestsWithoutRecursion) {
  constexpr std::size_t kDepth = 1'000'000;
  EXPECT_THAT(refusal(")" + std::string(kDepth, '\x85')),
              HasSubstr("expected a name and a tensor, found a tuple of 1"));
  EXPECT_THAT(refusal(std::string(kDepth, ']') + std::string(kDepth - 1, 'a')),
              HasSubstr("expected a tuple as a (name, tensor) pair, found a list"));
}

TEST(TensorPickle, SurvivesAListThatContainsItself) {
  EXPECT_THAT(refusal("]q\x01h\x01"
                      "a"),
              HasSubstr("expected a tuple as a (name, tensor) pair, found a list"));
}

TEST(TensorPickle, DoesNotFollowTuplesThatDoubleAtEachLevel) {
  std::string doubled = "}";
  for (int level = 0; level < 1000; ++level) doubled += "q\x01h\x01\x86";
  EXPECT_THAT(refusal(doubled), HasSubstr("expected a str as the name of a tensor, found a tuple"));
}

TEST(TensorPickle, DoesNotCopyALongNameForEveryMention) {
  std::string items = text(std::string(1'000'000, 'a')) + "q\x01" + two_floats() + "q\x02";
  for (int i = 0; i < 500'000; ++i) items += "h\x01h\x02";
  EXPECT_THAT(refusal(dict(items)), HasSubstr("expected each name once"));
}

TEST(TensorPickle, SurvivesEveryChangeOfOneByte) {
  const std::string pickle =
      pickled(ordered_dict() + "(" + text("w") + two_floats() + "u" + dict(text("_metadata") + "}") + "b");
  for (std::size_t offset = 0; offset < pickle.size(); ++offset) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string damaged = pickle;
      damaged[offset] = static_cast<char>(byte);
      try {
        for (const PickledTensor& read : read_tensor_pickle(damaged, "data.pkl")) {
          EXPECT_EQ(read.shape.size(), read.strides.size());
        }
      } catch (const UserError&) {
      }
    }
  }
}

}  // namespace twingrad::tensor_pickle_test
