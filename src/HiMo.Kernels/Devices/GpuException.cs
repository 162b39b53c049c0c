// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels;

/// <summary>
/// A device refused or failed: the message names the operation or kernel, its grid, the device and what the driver said. A fault inside
/// a kernel shows at a later call, whichever that is, and leaves the device's context unusable for the whole process.
/// </summary>
/// <param name="message">What failed, where, and the way out.</param>
/// <param name="cause">The driver's or ILGPU's own exception; null where there is none.</param>
public sealed class GpuException(string message, Exception? cause = null) : Exception(message, cause);
