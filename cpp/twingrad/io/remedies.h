#pragma once

namespace twingrad {

// What to do about a file that cannot be read.

inline constexpr const char* kCopyAgain = "copy the file again, or save it again";
inline constexpr const char* kSaveAgain = "save it again with torch.save";
inline constexpr const char* kSaveStateDict = "save only the tensors: torch.save(model.state_dict(), file)";

// For the texts that describe_text recognizes.
inline constexpr const char* kFetchFromLfs = "fetch the file itself: git lfs pull";
inline constexpr const char* kDownloadFile = "download the file itself";

}  // namespace twingrad
