<?php

use local_manireports\cloud\callback;
use local_manireports\cloud\callback_store;
use PHPUnit\Framework\TestCase;

/**
 * What the callback page answers, whatever server and proxy are before it.
 *
 * @covers \local_manireports\cloud\callback
 */
class callback_test extends TestCase {
    private const NOW = 1767225600;

    private const SECRET = 'secret';

    /** @var stdClass[] what was kept */
    private array $kept = [];

    public static function signatures(): array {
        return vectors('signatures');
    }

    public static function checks(): array {
        return array_filter(vectors('signatures', 'checks'), fn($case) => $case[0]->kind === 'result');
    }

    /** @dataProvider signatures */
    public function test_signatures_of_the_vectors(stdClass $case): void {
        $made = callback::sign($case->kind, $case->timestamp, $case->payload, $case->secret);
        self::assertSame($case->signature, $made);
    }

    /** @dataProvider checks */
    public function test_what_is_genuine(stdClass $case): void {
        $report = (object)['signed_at' => $case->timestamp, 'payload' => $case->payload, 'signature' => $case->signature];
        self::assertSame($case->valid, callback::is_signed($report, $case->secrets));
    }

    public function test_without_a_secret_nothing_is_genuine(): void {
        $report = (object)['signed_at' => 1, 'payload' => '{}', 'signature' => callback::sign('result', 1, '{}', '')];
        self::assertFalse(callback::is_signed($report, []));
        self::assertFalse(callback::is_signed($report, ['']));
        $report->signature = callback::sign('result', 1, '{}', 'b');
        self::assertTrue(callback::is_signed($report, ['a', 'b']));
    }

    public function test_headers_are_found_however_a_server_names_them(): void {
        foreach (['HTTP_X_MANIREPORTS_', 'REDIRECT_HTTP_X_MANIREPORTS_', 'REDIRECT_REDIRECT_HTTP_X_MANIREPORTS_',
                'http_x_manireports_', 'X-ManiReports-'] as $prefix) {
            $payload = $this->payload();
            self::assertSame(callback::STORED, $this->answer($payload, $this->server($payload, $prefix)), $prefix);
        }
    }

    public function test_a_length_is_looked_at_before_anything_else(): void {
        $server = $this->server('{}');
        foreach (['1048577' => 413, str_repeat('9', 40) => 413, '1e3' => 400, '-1' => 400, '0x10' => 400,
                '1048576' => 0, '0000000000002' => 0] as $length => $wanted) {
            self::assertSame($wanted, callback::refuse_early(['CONTENT_LENGTH' => (string)$length] + $server), (string)$length);
        }
        self::assertSame(413, callback::refuse_early(['REQUEST_METHOD' => 'POST', 'CONTENT_LENGTH' => '1048577']));
    }

    public function test_a_body_without_a_length_is_read_no_further_than_the_limit(): void {
        $payload = str_repeat(' ', 3 * callback::MAX_BYTES);
        $body = $this->stream($payload);
        $server = $this->server($payload);
        self::assertSame(413, (new callback($this->store()))->answer($server, $body, self::NOW));
        self::assertSame(callback::MAX_BYTES + 1, ftell($body));
    }

    public function test_methods_keys_times_and_signatures_of_another_form(): void {
        $server = $this->server('{}');
        $with = fn(string $name, string $value): int => callback::refuse_early(["HTTP_X_MANIREPORTS_$name" => $value] + $server);
        foreach (['GET', 'HEAD', 'PUT', 'OPTIONS', 'post', ''] as $method) {
            self::assertSame(405, callback::refuse_early(['REQUEST_METHOD' => $method] + $server));
        }
        foreach (['', 'soon', '1.5', '0x10', '007', '+1', ' 1', "1\n", '1_0', '9999999999999999999'] as $time) {
            self::assertSame(400, $with('TIMESTAMP', $time), $time);
        }
        foreach (['', 'a b', "a\n", 'ø', str_repeat('k', 65)] as $key) {
            self::assertSame(401, $with('KEY', $key), $key);
        }
        $good = $server['HTTP_X_MANIREPORTS_SIGNATURE'];
        foreach (['', strtoupper($good), "$good\n", "{$good}0", substr($good, 1), 'g' . substr($good, 1)] as $signature) {
            self::assertSame(401, $with('SIGNATURE', $signature), $signature);
        }
        self::assertSame(0, callback::refuse_early($server));
    }

    public function test_signature_and_time_come_before_the_payload(): void {
        self::assertSame(400, $this->answer('no report', $this->server('no report')));
        self::assertSame(401, $this->answer('no report', $this->server('something else')));
        $late = $this->server('no report', at: self::NOW - callback::CLOCK_SECONDS - 1);
        self::assertSame(401, $this->answer('no report', $late));
        $payload = $this->payload();
        foreach ([-300, 300] as $off) {
            self::assertSame(callback::STORED, $this->answer($payload, $this->server($payload, at: self::NOW + $off)));
        }
        foreach ([-301, 301] as $off) {
            self::assertSame(401, $this->answer($payload, $this->server($payload, at: self::NOW + $off)));
        }
    }

    public function test_what_is_kept_is_what_came(): void {
        $payload = $this->payload();
        $server = $this->server($payload, at: self::NOW - 7);
        self::assertSame(callback::STORED, $this->answer($payload, $server));
        self::assertEquals([(object)[
            'callback_key' => 'k',
            'signed_at' => self::NOW - 7,
            'payload' => $payload,
            'signature' => $server['HTTP_X_MANIREPORTS_SIGNATURE'],
            'received_at' => self::NOW,
            'outcome' => '',
            'delivery_id' => json_decode($payload)->delivery_id,
        ]], $this->kept);
    }

    private function payload(): string {
        return vectors('results')['sent: every mail was taken'][0]->payload;
    }

    private function server(string $payload, string $prefix = 'HTTP_X_MANIREPORTS_', int $at = self::NOW): array {
        return [
            'REQUEST_METHOD' => 'POST',
            "{$prefix}KEY" => 'k',
            "{$prefix}TIMESTAMP" => (string)$at,
            "{$prefix}SIGNATURE" => callback::sign('result', $at, $payload, self::SECRET),
        ];
    }

    private function answer(string $payload, array $server): int {
        return (new callback($this->store()))->answer($server, $this->stream($payload), self::NOW);
    }

    /** @return resource */
    private function stream(string $text) {
        $stream = fopen('php://memory', 'w+b');
        fwrite($stream, $text);
        rewind($stream);
        return $stream;
    }

    private function store(): callback_store {
        return new class ($this->kept, self::SECRET) extends callback_store {
            private array $kept;

            private string $secret;

            public function __construct(array &$kept, string $secret) {
                $this->kept = &$kept;
                $this->secret = $secret;
            }

            public function ready(): bool {
                return true;
            }

            public function secrets(string $key, int $now): array {
                return $key === 'k' ? [$this->secret] : [];
            }

            public function keep(stdClass $report): bool {
                $this->kept[] = $report;
                return true;
            }
        };
    }
}
