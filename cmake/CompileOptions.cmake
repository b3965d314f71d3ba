# twingrad_compile_options(<target>): warnings, sanitizers and floating-point rules, the same for every
# target.
function(twingrad_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(
    ${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    # Processors with and without fused multiply-add compute the same digits; sqrt vectorizes without errno.
    -ffp-contract=off -fno-math-errno)
  if(TWINGRAD_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TWINGRAD_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all
                                             $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_link_options(${target} PRIVATE -fsanitize=${TWINGRAD_SANITIZE})
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${TWINGRAD_UNITY} UNITY_BUILD_MODE GROUP)
endfunction()

# twingrad_sources(<target> <group> <source>...): adds the sources. With TWINGRAD_UNITY they are compiled as
# one unit, so helpers in their unnamed namespaces need distinct names; without, each is a unit of its own.
function(twingrad_sources target group)
  target_sources(${target} PRIVATE ${ARGN})
  set_source_files_properties(${ARGN} PROPERTIES UNITY_GROUP ${group})
endfunction()
