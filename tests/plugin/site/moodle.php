<?php
// Classes and functions of Moodle's core that our plugin calls.

namespace core {
    /** As lib/classes/encryption.php of Moodle 4.3 writes and reads values. */
    class encryption {
        public static function decrypt(string $data): string {
            global $CFG;
            if ($data === '') {
                return '';
            }
            [$method, $packed] = explode(':', $data, 2);
            $raw = base64_decode($packed, true);
            $key = file_get_contents("$CFG->dataroot/secret/key/sodium.key");
            $nonce = substr($raw, 0, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES);
            $box = substr($raw, SODIUM_CRYPTO_SECRETBOX_NONCEBYTES);
            $text = $method === 'sodium' ? sodium_crypto_secretbox_open($box, $nonce, $key) : false;
            if ($text === false) {
                throw new \Exception('encryption_decryptfailed');
            }
            return $text;
        }
    }
}

namespace core\event {
    /** An event as observers see it. */
    class base {
        public $objectid;
        public $relateduserid;
        public $userid;
        public $other;

        public function __construct(array $data) {
            foreach ($data as $name => $value) {
                $this->$name = $value;
            }
        }
    }
}

namespace {
    class core_text {
        public static function substr(string $text, int $start, ?int $length = null): string {
            return mb_substr($text, $start, $length, 'UTF-8');
        }
    }

    class core_shutdown_manager {
        public static function register_function(callable $callback): void {
            register_shutdown_function($callback);
        }
    }

    function during_initial_install(): bool {
        return false;
    }

    function is_siteadmin(int $userid): bool {
        return $userid === 2;
    }

    function isloggedin(): bool {
        return false;
    }

    spl_autoload_register(function (string $class): void {
        $own = 'local_manireports\\';
        if (str_starts_with($class, $own)) {
            $path = __DIR__ . '/local/manireports/classes/' . strtr(substr($class, strlen($own)), '\\', '/') . '.php';
            if (is_file($path)) {
                require_once($path);
            }
        }
    });
}
