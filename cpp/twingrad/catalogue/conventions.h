#pragma once

#include <vector>

#include "twingrad/catalogue/schedules.h"

namespace twingrad::catalogue {

/// What layers and losses do apart from their gradients, compared with LibTorch:
///
///   batch_norm.running_statistics, batch_norm.cumulative_average    the buffers after training steps
///   defaults                                                        layers and losses without options
///   validation                                                      the options that are refused
///   shards.mean, shards.sum                                         the gradient of a batch in parts
std::vector<ValuesEntry> convention_entries();

/// Parts of convention_entries().
std::vector<ValuesEntry> running_statistics_entries();
ValuesEntry default_options();
ValuesEntry validation();
std::vector<ValuesEntry> shard_entries();

}  // namespace twingrad::catalogue
