<?php

use local_manireports\cloud\result_payload;
use PHPUnit\Framework\TestCase;

/**
 * A report is read as the contract says.
 *
 * @covers \local_manireports\cloud\result_payload
 */
class result_payload_test extends TestCase {
    public static function good(): array {
        return vectors('results');
    }

    public static function malformed(): array {
        return array_filter(vectors('malformed_results'), fn(array $case): bool => strlen(self::text($case[0])) <= 1048576);
    }

    /** @dataProvider good */
    public function test_results_are_taken(stdClass $case): void {
        self::assertSame($case->result->delivery_id, result_payload::delivery_id($case->payload));
    }

    /** @dataProvider malformed */
    public function test_malformed_results_are_refused(stdClass $case): void {
        self::assertNull(result_payload::delivery_id(self::text($case)));
    }

    public function test_fields_that_are_not_known_are_ignored(): void {
        $result = vectors('results')['sent: every mail was taken'][0]->result;
        $result->more = (object)['a' => [1, (object)['b:c' => '"{:']], '' => null];
        self::assertSame($result->delivery_id, result_payload::delivery_id(json_encode($result)));
    }

    public function test_a_name_given_twice_is_found_at_any_depth(): void {
        $payload = vectors('results')['sent: every mail was taken'][0]->payload;
        foreach (['"x":{"a":1,"a":1}', '"x":[{"a":1,"\u0061":2}]', '"x":1,"x":1', '"final":false'] as $more) {
            self::assertNull(result_payload::delivery_id(substr($payload, 0, -1) . ",$more}"), $more);
        }
        self::assertNotNull(result_payload::delivery_id(substr($payload, 0, -1) . ',"x":{"a":1,"b":"a\":"}}'));
    }

    public function test_half_a_surrogate_pair_costs_nobody_the_results(): void {
        $payload = vectors('results')['sent: every mail was taken'][0]->payload;
        foreach (['\ud83d', '\ude00', '\ud83d\ud83d', '\\\\\ud83d', '\ud83d\ude00'] as $text) {
            $with = str_replace('"errors":[]', "\"errors\":[\"a{$text}b\"]", $payload);
            self::assertNotSame($payload, $with);
            self::assertNotNull(result_payload::delivery_id($with), $text);
        }
    }

    private static function text(stdClass $case): string {
        $pieces = array_map(fn(array $piece): string => str_repeat(...$piece), $case->pieces ?? []);
        return $case->text ?? implode('', $pieces);
    }
}
