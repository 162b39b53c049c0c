// SPDX-License-Identifier: Apache-2.0
using System.Text;
using System.Text.Json.Nodes;

namespace HiMo.Trainer;

/// <summary>A run's log.jsonl: one JSON object a line, complete lines only, so that it can be read while the run goes on.</summary>
internal sealed class TrainingLog : IDisposable
{
    /// <summary>Name of the file in a run's folder.</summary>
    public const string FileName = "log.jsonl";

    private readonly string _path;
    private readonly FileStream _stream;

    /// <summary>Opens the log for appending. What a killed run wrote after its last checkpoint is dropped; it will be written again.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="step">Steps that are kept; 0 starts the log anew.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public TrainingLog(string folder, long step)
    {
        _path = Path.Combine(folder, FileName);
        string kept = step > 0 && File.Exists(_path) ? string.Concat(File.ReadLines(_path).Where(line => StepOf(line) <= step).Select(line => line + '\n')) : "";
        AtomicFile.WriteText(_path, kept);
        _stream = new FileStream(_path, FileMode.Append, FileAccess.Write, FileShare.Read);
    }

    /// <summary>The records so far.</summary>
    public IEnumerable<JsonObject> Records => File.ReadLines(_path).Select(line => JsonNode.Parse(line)!.AsObject());

    /// <summary>Appends a record.</summary>
    /// <param name="record">Numbers must be finite; JSON has no others.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public void Write(JsonObject record)
    {
        try
        {
            _stream.Write(Encoding.UTF8.GetBytes(record.ToJsonString() + "\n"));
            _stream.Flush();
        }
        catch (IOException failure)
        {
            throw new UserError($"{_path}: cannot be written ({failure.Message})", failure);
        }
    }

    public void Dispose() => _stream.Dispose();

    /// <summary>The step of a line; of the last line of a killed run, which may be cut, a step that is never kept.</summary>
    private static long StepOf(string line)
    {
        try
        {
            return JsonNode.Parse(line)?["step"]?.GetValue<long>() ?? long.MaxValue;
        }
        catch (System.Text.Json.JsonException)
        {
            return long.MaxValue;
        }
    }
}
