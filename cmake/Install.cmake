# `cmake --install`: the program, the library, its headers, the recipes, the examples and the package
# for find_package(twingrad).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/twingrad)
# Two export sets: the gradient checker alone depends on LibTorch only.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)
install(TARGETS twingrad-gradcheck EXPORT twingrad-gradcheck-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS twingrad EXPORT twingrad-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TWINGRAD_BUILD_APP)
  install(TARGETS twingrad-app RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/twingrad
          COMPONENT program)
  install(FILES ${PROJECT_BINARY_DIR}/share/man/man1/twingrad.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
          COMPONENT program)
  install(FILES ${PROJECT_BINARY_DIR}/share/bash-completion/completions/twingrad
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT program)
endif()
# The public headers: gradient checker, layers, losses, optimizers, twins, trainer, and what these include.
foreach(directory gradcheck layers losses optim ops mlp compare)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/twingrad/${directory}
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/twingrad
          FILES_MATCHING PATTERN *.h PATTERN detail EXCLUDE PATTERN function_clones.h EXCLUDE)
endforeach()
foreach(header data/batches data/dataset data/idx io/grey_image io/named_tensor io/tensor_file
               runtime/error runtime/gpu runtime/names runtime/process_group runtime/ranks runtime/threads
               training/gradient_exchange training/observer training/options training/progress
               training/step_clock training/test_results training/trainer)
  get_filename_component(directory ${header} DIRECTORY)
  install(FILES ${PROJECT_SOURCE_DIR}/cpp/twingrad/${header}.h
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/twingrad/${directory})
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/examples DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT twingrad-gradcheck-targets NAMESPACE twingrad:: DESTINATION ${package_folder})
install(EXPORT twingrad-targets NAMESPACE twingrad:: DESTINATION ${package_folder})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/twingrad-config.cmake.in
                              ${PROJECT_BINARY_DIR}/twingrad-config.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/twingrad-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/twingrad-config.cmake ${PROJECT_BINARY_DIR}/twingrad-config-version.cmake
        DESTINATION ${package_folder})
