// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>A failure that its message explains completely: printed as one line, without a stack trace, exit code 1.</summary>
/// <param name="message">What failed, the value, and the way out.</param>
/// <param name="inner">What caused it, shown with --verbose.</param>
public sealed class UserError(string message, Exception? inner = null) : Exception(message, inner);
