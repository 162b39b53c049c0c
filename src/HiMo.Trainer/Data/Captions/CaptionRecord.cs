// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>One training pair.</summary>
/// <param name="ImagePath">The image file, absolute or below the data folder.</param>
/// <param name="Caption">Its text on one line.</param>
internal readonly record struct CaptionRecord(string ImagePath, string Caption);
