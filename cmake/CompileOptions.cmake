# twingrad_compile_options(<target>): warnings, sanitizers and floating-point rules, the same for every target of ours.
# They have to be the same: targets share one precompiled header.
function(twingrad_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(
    ${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    # A processor with fused multiply-add computes the same digits as one without; sqrt vectorizes without errno.
    -ffp-contract=off -fno-math-errno)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess) # ccache needs it
  endif()
  if(TWINGRAD_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TWINGRAD_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all
                                             $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_link_options(${target} PRIVATE -fsanitize=${TWINGRAD_SANITIZE})
  endif()
endfunction()
