#pragma once

namespace twingrad {

// What to do about a weight file that cannot be read.

inline constexpr const char* kCopyAgain = "copy the file again, or save it again";
inline constexpr const char* kSaveAgain = "save it again with torch.save";
inline constexpr const char* kSaveStateDict = "save only the tensors: torch.save(model.state_dict(), file)";

}  // namespace twingrad
