// SPDX-License-Identifier: Apache-2.0
using System.Text.Encodings.Web;
using System.Text.Json;

namespace HiMo.Trainer;

/// <summary>How results are written as JSON: numbers round-trip, other scripts stay legible.</summary>
internal static class JsonText
{
    /// <summary>Indented, for people and scripts.</summary>
    public static JsonSerializerOptions Readable { get; } = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
