#pragma once

#include <string>

#include "twingrad/mlp/manual_parts.h"
#include "twingrad/optim/options.h"

namespace twingrad::catalogue {

/// The options of `twingrad compare` for a network that contains an entry of the catalogue, such as
/// "--activation tanh". Empty for an entry that the default network contains.
struct EntryInNetwork {
  std::string entry;
  std::string options;
};
/// All entries that a network can contain.
const std::vector<EntryInNetwork>& entries_in_networks();

/// The entries of the catalogue that this network, its loss and this optimizer consist of.
std::vector<std::string> entries_of(const MlpSpec& network, const OptimizerOptions& optimizer);

/// The parts of a manual twin with a planted bug, in every layer that it applies to. Throws UserError if no
/// bug has this name or if the network does not contain its entry.
ManualParts plant_bug(const std::string& bug, const MlpSpec& network, const OptimizerOptions& optimizer);

}  // namespace twingrad::catalogue
