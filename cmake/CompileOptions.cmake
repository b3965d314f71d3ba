# twingrad_compile_options(<target>): warnings, sanitizers and floating-point rules.
function(twingrad_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(
    ${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
    # The same results with and without fused multiply-add; sqrt vectorizes only without errno.
    -ffp-contract=off -fno-math-errno
    $<$<CXX_COMPILER_ID:Clang>:-Wno-unknown-pragmas>) # GCC ivdep
  # Libraries of users and plugins, which are shared, can contain ours. None of our functions is replaced by
  # one of the same name, so calls within a file stay direct.
  get_target_property(type ${target} TYPE)
  if(type STREQUAL STATIC_LIBRARY)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_compile_options(${target} PRIVATE -fno-semantic-interposition)
  endif()
  # False alarms of g++ 14 about copies of vectors, such as the vector<bool> in torch::autograd::Function.
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION MATCHES "^14\\.")
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow)
  endif()
  if(TWINGRAD_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${TWINGRAD_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all
                                             $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_link_options(${target} PRIVATE -fsanitize=${TWINGRAD_SANITIZE})
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${TWINGRAD_UNITY} UNITY_BUILD_MODE GROUP)
endfunction()

# twingrad_sources(<target> <group> <source>...): adds the sources. With TWINGRAD_UNITY they are compiled as
# one translation unit, so helpers in their unnamed namespaces need distinct names.
function(twingrad_sources target group)
  target_sources(${target} PRIVATE ${ARGN})
  set_source_files_properties(${ARGN} PROPERTIES UNITY_GROUP ${group})
endfunction()
