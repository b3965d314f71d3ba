#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../support/archives.h"
#include "../support/refusal.h"
#include "pickles.h"
#include "twingrad/io/tensor_pickle.h"

// What programs save beside plain state dicts: other protocols, checkpoints and modules.

namespace twingrad::saved_objects_test {

using namespace ::testing;
using namespace twingrad::testing;

// ---- Protocols 3 to 5 ----------------------------------------------------------------------------------

std::string short_text(const std::string& value) {
  return join("\x8c", std::string(1, static_cast<char>(value.size())), value);
}
/// A function whose names are on the stack.
std::string stacked_global(const std::string& module, const std::string& name) {
  return join(short_text(module), "\x94", short_text(name), "\x94\x93\x94");
}

TEST(TensorPickle, ReadsTheInstructionsOfProtocols3To5) {
  const std::string id = tuple(join(short_text("storage"), stacked_global("torch", "FloatStorage"),
                                    short_text("0"), short_text("cpu"), number(2))) +
                         "Q";
  const std::string name = join("\x8d", u64(1), "w");
  const std::string instructions =
      join("\x95", u64(1000), "}\x94(", name, "\x94", stacked_global("torch._utils", "_rebuild_tensor_v2"),
           tuple(join(id, number(0), tuple_of({2}), tuple_of({1}), "\x89",
                      stacked_global("collections", "OrderedDict"), ")R")),
           "R\x94", short_text("again"), "h\x0b", "u");
  for (const char* protocol : {"\2", "\3", "\4", "\5"}) {
    const std::string pickle = join("\x80", protocol, instructions, ".");
    const std::vector<PickledTensor> tensors = read_tensor_pickle(pickle, "data.pkl");
    ASSERT_THAT(tensors, SizeIs(2)) << "the tensor is number 11 in the memo";
    EXPECT_EQ(tensors[0].name, "w");
    EXPECT_EQ(tensors[1].name, "again");
    EXPECT_EQ(tensors[1].storage, "0");
  }
  EXPECT_THAT(refusal(join(stacked_global("os", "system"))), HasSubstr("found a call of os.system"));
  EXPECT_THAT(refusal(join("N", short_text("system"), "\x93")),
              HasSubstr("expected a str as the module of a function, found None"));
  EXPECT_THAT(refusal(join("\x8d", u64(UINT64_MAX), "a")), HasSubstr("found the end of the pickle"));
}

// ---- Checkpoints ---------------------------------------------------------------------------------------

std::string state_dict(const std::string& name = "w") { return dict(text(name) + two_floats()); }

TEST(TensorPickle, FindsTheStateDictInACheckpoint) {
  const std::string others = join(text("epoch"), number(3), text("lr"), "G", std::string(8, '\1'),
                                  text("done"), "\x89", text("name"), text("net"), text("optimizer"),
                                  dict(text("state") + dict(number(0) + state_dict("exp_avg"))));
  for (const std::string key : {"model_state_dict", "state_dict", "model", "net", "weights"}) {
    EXPECT_THAT(names_in(dict(others + text(key) + state_dict())), ElementsAre("w")) << key;
    EXPECT_THAT(names_in(dict(text(key) + state_dict() + others)), ElementsAre("w")) << key;
    EXPECT_THAT(names_in(dict(text(key) + state_dict() + text("loss") +
                              tensor(storage("FloatStorage", 2), 0, {}, {}))),
                ElementsAre("w"))
        << key;
  }
  EXPECT_THAT(names_in(dict(text("model") + dict(text("state_dict") + state_dict()) + text("epoch") + "N")),
              ElementsAre("w"));
  const std::string losses = dict(text("train") + tensor(storage("FloatStorage", 2), 0, {}, {}) +
                                  text("test") + tensor(storage("FloatStorage", 2), 1, {}, {}));
  EXPECT_THAT(names_in(dict(text("losses") + losses + text("net") + state_dict())), ElementsAre("w"));
  EXPECT_THAT(names_in(dict(text("ema") + state_dict("e") + text("model") + state_dict("m"))),
              ElementsAre("m"));
  EXPECT_THAT(names_in(dict(text("model") + state_dict("m") + text("model_state_dict") + state_dict("s"))),
              ElementsAre("s"));
  EXPECT_THAT(names_in(dict(text("model") + text("resnet") + text("net") + state_dict("n"))),
              ElementsAre("n"));
}

TEST(TensorPickle, RefusesCheckpointsWithoutOneStateDict) {
  std::string nested = state_dict();
  for (int i = 0; i < 10; ++i) nested = dict(text("model") + nested + text("epoch") + "N");
  expect_refusals<refusal>({
      {dict(text("a") + state_dict() + text("b") + state_dict()),
       "found 2 state dicts under the keys \"a\", \"b\"; save one of them: "
       "torch.save(torch.load(file)[\"a\"]"},
      {dict(text("epoch") + number(3)), "expected a tensor under the name \"epoch\", found an int"},
      {dict(text("model") + dict(text("epoch") + number(3))), "under the name \"epoch\", found an int"},
      {nested, "found dicts nested more than 8 deep"},
      {"}q\x01(" + text("model") + "h\x01u", "under the name \"model\", found a dict"},
  });
}

TEST(TensorPickle, IgnoresOtherValuesOfACheckpoint) {
  const std::string size = call(global("torch", "Size"), tuple_of({2, 3}));
  const std::string device = call(global("torch", "device"), text("cpu"));
  const std::string counter = call(global("collections", "Counter"), dict(number(3) + number(1)));
  EXPECT_THAT(names_in(dict(text("model") + state_dict() + text("s") + size + text("d") + device + text("c") +
                            counter + text("t") + global("torch", "float32") + text("b") +
                            call(global("_codecs", "encode"), text("raw") + text("latin1")) + text("B") +
                            join("B", u32(3), "raw") + text("C") + "C\3raw" + text("seed") + "\x8a\x09" +
                            std::string(9, '\xff'))),
              ElementsAre("w"));
  // Nothing that Python would run is ignored.
  EXPECT_THAT(refusal(dict(text("model") + state_dict() + text("f") + global("os", "system"))),
              HasSubstr("found a call of os.system"));
}

// ---- Modules of LibTorch and TorchScript ---------------------------------------------------------------

std::string module(const std::string& attributes, const std::string& python_module = "__torch__") {
  return join(global(python_module, "Module"), ")\x81", dict(attributes), "b");
}

TEST(TensorPickle, NamesTheTensorsOfModulesAsTheirStateDict) {
  const std::string linear = module(text("weight") + two_floats() + text("bias") + two_floats() +
                                        text("training") + "\x88" + text("scale") + number(2),
                                    "__torch__.torch.nn.modules.linear");
  EXPECT_THAT(names_in(module(text("0") + linear + text("1") + module("") + text("inner") +
                              module(text("2") + linear) + text("own") + two_floats())),
              ElementsAre("0.weight", "0.bias", "inner.2.weight", "inner.2.bias", "own"));
  // One activation in two places.
  EXPECT_THAT(names_in(module(text("1") + module("") + "q\5" + text("2") + linear + text("3") + "h\5")),
              ElementsAre("2.weight", "2.bias"));
}

TEST(TensorPickle, RefusesModulesWithoutLimit) {
  std::string nested = module(text("w") + two_floats());
  std::string doubled = nested + "q\1";
  for (int i = 0; i < 100; ++i) nested = module(text("m") + nested);
  for (int i = 0; i < 30; ++i) {
    doubled = module(text("a") + doubled + text("b") + "h\1") + "q\1";
  }
  const std::string long_name =
      module(text(std::string(200, 'm')) + module(text(std::string(99, 'w')) + two_floats()));
  expect_refusals<refusal>({
      {nested, "expected modules nested at most 64 deep, found more"},
      {doubled, "expected at most 100000 attributes of modules, found more"},
      {join(global("__torch__", "Module"), ")\x81q\1", dict(text("m") + "h\1"), "b"),
       "expected modules nested at most 64 deep, found more"},
      {long_name, "expected names of at most 256 bytes, found a longer one"},
      {join(text("os.system"), ")\x81"),
       "expected a class of modules as the class of an object, found a str"},
      {join(global("collections", "OrderedDict"), ")\x81"), "found a function"},
      {global("__torch", "Module"), "found a call of __torch.Module"},
  });
}

// ---- Writing -------------------------------------------------------------------------------------------

TEST(TensorPickle, ReadsWhatItWrites) {
  const std::vector<StoredTensor> stored = {{"b", ElementType::kFloat32, {2, 3}, {}, 0, 0},
                                            {"größe\n", ElementType::kInt64, {}, {}, 0, 0},
                                            {"", ElementType::kBool, {0, 4}, {}, 0, 0}};
  const std::string pickle = write_tensor_pickle(stored);
  const std::vector<PickledTensor> tensors = read_tensor_pickle(pickle, "data.pkl");
  ASSERT_THAT(tensors, SizeIs(3));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(tensors[i].name, stored[i].name);
    EXPECT_EQ(tensors[i].type, stored[i].type);
    EXPECT_EQ(tensors[i].shape, stored[i].shape);
    EXPECT_EQ(tensors[i].strides, contiguous_strides(stored[i].shape));
    EXPECT_EQ(tensors[i].storage, std::to_string(i));
    EXPECT_EQ(tensors[i].offset, 0);
  }
  EXPECT_EQ(tensors[0].storage_size, 6);
  EXPECT_EQ(tensors[1].storage_size, 1);
  EXPECT_EQ(tensors[2].storage_size, 0);
  EXPECT_EQ(write_tensor_pickle({}), "\x80\x02}(u.");
}

}  // namespace twingrad::saved_objects_test
